// Requests through proxies, by provider and proxy, of each window.
byProvider = if params.provider == "" then (r) => true else (r) => r.provider == params.provider
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "proxies")
    |> filter(fn: byProvider)

points()
    |> filter(fn: (r) => r._field =~ /^(requests|failures|bans|bytes|cost|latency_sum|latency_count)$/)
    |> total()
    |> keep(columns: ["_time", "provider", "proxy", "_field", "_value"])
    |> yield(name: "fields")

points()
    |> filter(fn: (r) => r._field == "latency_max")
    |> highest()
    |> keep(columns: ["_time", "provider", "proxy", "_value"])
    |> yield(name: "latency_max")
