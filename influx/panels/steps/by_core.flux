// Cores as rows of a heatmap: a column for each.
by_core = (tables=<-, params) => tables
    |> group(columns: ["core"])
    |> aggregateWindow(every: params.every, fn: mean, createEmpty: false, timeSrc: "_start")
    |> group()
    |> pivot(rowKey: ["_time"], columnKey: ["core"], valueColumn: "_value")
    |> drop(columns: ["_start", "_stop"])
