// Attempts at sites, of each window.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "site_runs")
    |> filter(fn: bySite)

points()
    |> filter(fn: (r) => r._field =~ /^(started|succeeded|failed|duration_sum)$/)
    |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")

points()
    |> filter(fn: (r) => r._field == "duration_max")
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "site", "_value"])
    |> yield(name: "duration_max")
