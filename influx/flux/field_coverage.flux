// How many items of each site have which field filled, of each window.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "field_coverage")
    |> filter(fn: (r) => r._field =~ /^(items|covered)$/)
    |> filter(fn: bySite)
    |> total()
    |> keep(columns: ["_time", "site", "field", "_field", "_value"])
    |> yield(name: "fields")
