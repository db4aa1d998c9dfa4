// How long pages took, by site and window: their number, sum and maximum.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "pages")
    |> filter(fn: bySite)

points()
    |> filter(fn: (r) => r._field =~ /^duration_(count|sum)$/)
    |> total()
    |> group(columns: ["site", "_field"])
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")

// A second pass over maxima would cost ten times the first, so they are answered by series: the highest of a window counts.
points()
    |> filter(fn: (r) => r._field == "duration_max")
    |> highest()
    |> keep(columns: ["_time", "site", "status_class", "_value"])
    |> yield(name: "duration_max")
