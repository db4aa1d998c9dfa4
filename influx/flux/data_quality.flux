// Quality of the items of each site, of each window.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "data_quality")
    |> filter(fn: (r) => r._field =~ /^(items|valid|duplicates)$/)
    |> filter(fn: bySite)
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")
