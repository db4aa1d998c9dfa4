// All tags together: the sum of each field, window by window.
together = (tables=<-, params) => tables
    |> group(columns: ["_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "_field", "_value"])
