// Rows with the same value of the tag together: the sum of each field, window by window.
by_tag = (tables=<-, params) => tables
    |> group(columns: ["tag", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "tag", "_field", "_value"])
