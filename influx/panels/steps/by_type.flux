// The sites together, by type of error.
by_type = (tables=<-, params) => tables
    |> group(columns: ["type", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "type", "_field", "_value"])
