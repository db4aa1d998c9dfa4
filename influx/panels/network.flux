// Bytes through each network interface of the machines, of each window.
byHost = if params.host == "" then (r) => true else (r) => r.host == params.host

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "host_network")
    |> filter(fn: (r) => r._field =~ /^(sent_bytes|received_bytes)$/)
    |> filter(fn: byHost)
    |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "host", "interface", "_field", "_value"])
    |> yield(name: "fields")
