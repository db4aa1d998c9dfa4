// Use of the machines that scrapewatch runs on: means and maxima of each window.
// The rollups hold means, whose mean is answered, and the maximum of a gauge under <name>_max.
byHost = if params.host == "" then (r) => true else (r) => r.host == params.host
suffix = if params.tier =~ /fleet_1[mh]$/ then "_max" else ""
average = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "host")
    |> filter(fn: byHost)
top = (name) => {
    field = name + suffix

    return points()
        |> filter(fn: (r) => r._field == field)
        |> highest()
        |> keep(columns: ["_time", "host", "_value"])
}

points()
    |> filter(fn: (r) => r._field =~ /^(cpu_percent|memory_percent|swap_percent|load_1)$/)
    |> average()
    |> keep(columns: ["_time", "host", "_field", "_value"])
    |> yield(name: "fields")

top(name: "cpu_percent") |> yield(name: "cpu_percent_max")
top(name: "memory_percent") |> yield(name: "memory_percent_max")
