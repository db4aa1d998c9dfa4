// The machines together, by the name of processes.
by_process = (tables=<-, params) => tables
    |> group(columns: ["process", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "process", "_field", "_value"])
