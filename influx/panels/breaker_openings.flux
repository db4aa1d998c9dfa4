// When circuit breakers opened: a mark for each stretch of time in which one did, few enough to be told apart.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
stretch = duration(v: int(v: v.windowPeriod) * 16)

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "breakers" and r._field == "opened")
    |> filter(fn: bySite)
    |> aggregateWindow(every: stretch, fn: sum, createEmpty: false, timeSrc: "_start")
    |> filter(fn: (r) => r._value > 0)
    |> keep(columns: ["_time", "site", "_value"])
    |> yield(name: "opened")
