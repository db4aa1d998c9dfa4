// Checks of services, of each window: how many, how many found them up, how long they took.
byService = if params.service == "" then (r) => true else (r) => r.service == params.service
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "service_checks")
    |> filter(fn: byService)

points()
    |> filter(fn: (r) => r._field =~ /^(checks|up|response_time_sum)$/)
    |> total()
    |> group(columns: ["service", "_field"])
    |> total()
    |> keep(columns: ["_time", "service", "_field", "_value"])
    |> yield(name: "fields")

points()
    |> filter(fn: (r) => r._field == "response_time_max")
    |> highest()
    |> keep(columns: ["_time", "service", "_value"])
    |> yield(name: "response_time_max")
