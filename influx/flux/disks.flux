// Space on the file systems of the machines, of each window.
// The rollups hold means, whose mean is answered, and the maximum of a gauge under <name>_max.
byHost = if params.host == "" then (r) => true else (r) => r.host == params.host
size = if params.tier =~ /fleet_1[mh]$/ then "total_max" else "total"
average = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: "_start")
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
// A function: of one source with two readers InfluxDB fetches every point, of a source each only the windows.
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "host_disks")
    |> filter(fn: byHost)

points()
    |> filter(fn: (r) => r._field =~ /^(used|percent)$/)
    |> average()
    |> keep(columns: ["_time", "host", "mount", "_field", "_value"])
    |> yield(name: "fields")

points()
    |> filter(fn: (r) => r._field == size)
    |> highest()
    |> keep(columns: ["_time", "host", "mount", "_value"])
    |> yield(name: "total")
