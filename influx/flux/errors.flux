// Errors by site and type, of each window.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "errors" and r._field == "count")
    |> filter(fn: bySite)
    |> total()
    |> group(columns: ["site", "type"])
    |> total()
    |> keep(columns: ["_time", "site", "type", "_value"])
    |> yield(name: "count")
