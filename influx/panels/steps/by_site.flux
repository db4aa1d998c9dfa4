// Each site by itself, whatever else tells its rows apart.
by_site = (tables=<-, params) => tables
    |> group(columns: ["site", "_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "site", "_field", "_value"])
