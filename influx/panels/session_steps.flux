// How far a session is at each site, the most of each window.
from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "progress" and r.session_id == params.session_id)
    |> filter(fn: (r) => r._field =~ /^(done|total)$/)
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")
