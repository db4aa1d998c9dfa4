// Zero in each window in which nothing came, so that silence does not look like a line from the last count to the next.
dense = (tables=<-, params) => tables
    |> aggregateWindow(every: params.every, fn: sum, timeSrc: "_start")
    |> fill(value: 0.0)
    |> drop(columns: ["_start", "_stop"])
