// Circuit breakers by site: the last state of each window and the changes in it.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "breakers")
    |> filter(fn: bySite)

points()
    |> filter(fn: (r) => r._field == "state")
    |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "site", "_value"])
    |> yield(name: "state")

points()
    |> filter(fn: (r) => r._field =~ /^(transitions|opened)$/)
    |> total()
    |> group(columns: ["site", "_field"])
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")
