// The proxies of each provider together.
by_provider = (tables=<-, params) => tables
    |> group(columns: ["provider", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "provider", "_field", "_value"])
