// What was spent on what, all sites and currencies together.
by_kind = (tables=<-, params) => tables
    |> group(columns: ["kind", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "kind", "_field", "_value"])
