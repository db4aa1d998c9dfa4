// Nothing in each window in which nothing came, so that no line is drawn over silence.
gaps = (tables=<-, params) => tables
    |> aggregateWindow(every: params.every, fn: mean, timeSrc: "_start")
    |> drop(columns: ["_start", "_stop"])
