// How long pages took, by site and window: their histogram, number, sum and maximum.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
points = from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "pages")
    |> filter(fn: bySite)

points
    |> filter(fn: (r) => r._field =~ /^(h[0-9][0-9]|duration_count|duration_sum)$/)
    |> total()
    |> group(columns: ["site", "_field"])
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")

points
    |> filter(fn: (r) => r._field == "duration_max")
    |> highest()
    |> group(columns: ["site"])
    |> highest()
    |> keep(columns: ["_time", "site", "_value"])
    |> yield(name: "duration_max")
