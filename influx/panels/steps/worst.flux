// The highest of all series of a field, window by window.
worst = (tables=<-, params) => tables
    |> group(columns: ["_field"])
    |> aggregateWindow(every: params.every, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "_field", "_value"])
