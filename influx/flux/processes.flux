// The processes of the machines that use most, of each window: means and maxima.
// The rollups hold means, whose mean is answered, and the maximum of a gauge under <name>_max.
byHost = if params.host == "" then (r) => true else (r) => r.host == params.host
// A name that is put together within a filter would have every field fetched.
top = if params.tier =~ /fleet_1[mh]$/ then "cpu_percent_max" else "cpu_percent"
tops = if params.tier =~ /fleet_1[mh]$/ then /^(memory|threads|count)_max$/ else /^(memory|threads|count)$/
average = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "host_processes")
    |> filter(fn: byHost)

points()
    |> filter(fn: (r) => r._field == "cpu_percent")
    |> average()
    |> keep(columns: ["_time", "host", "process", "_value"])
    |> yield(name: "cpu_percent")

points()
    |> filter(fn: (r) => r._field == top)
    |> highest()
    |> keep(columns: ["_time", "host", "process", "_value"])
    |> yield(name: "cpu_percent_max")

points()
    |> filter(fn: (r) => r._field =~ tops)
    |> highest()
    |> keep(columns: ["_time", "host", "process", "_field", "_value"])
    |> yield(name: "tops")
