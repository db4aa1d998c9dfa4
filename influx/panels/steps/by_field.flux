// The sites together, by field of a posting.
by_field = (tables=<-, params) => tables
    |> group(columns: ["field", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "field", "_field", "_value"])
