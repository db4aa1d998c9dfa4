// Use of each core of the machines, the mean of each window.
byHost = if params.host == "" then (r) => true else (r) => r.host == params.host

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "host_cores" and r._field == "cpu_percent")
    |> filter(fn: byHost)
    |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "host", "core", "_value"])
    |> yield(name: "cpu_percent")
