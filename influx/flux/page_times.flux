// How long pages took on average, by site and window: their number and the sum of their times.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "pages")
    |> filter(fn: (r) => r._field =~ /^(duration_count|duration_sum)$/)
    |> filter(fn: bySite)
    |> total()
    |> group(columns: ["site", "_field"])
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")
