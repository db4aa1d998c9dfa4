// How long the steps of an event's way take, of each window: sums, counts, maxima, and the histogram of acknowledgements.
byCollector = if params.collector == "" then (r) => true else (r) => r.collector == params.collector
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "collector")
    |> filter(fn: byCollector)

points()
    |> filter(fn: (r) => r._field =~ /^(h[0-9][0-9]|(ack|commit|fold|write_series|apply_records)_(sum|count))$/)
    |> total()
    |> group(columns: ["collector", "_field"])
    |> total()
    |> keep(columns: ["_time", "collector", "_field", "_value"])
    |> yield(name: "fields")

points()
    |> filter(fn: (r) => r._field =~ /^(ack|commit|fold|write_series|apply_records)_max$/)
    |> highest()
    |> keep(columns: ["_time", "collector", "_field", "_value"])
    |> yield(name: "maxima")
