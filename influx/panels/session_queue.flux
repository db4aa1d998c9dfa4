// A session's queue and its scrapers at work at each site, the highest of each window.
from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "queue" and r.session_id == params.session_id)
    |> filter(fn: (r) => r._field =~ /^(depth|pending|active_scrapers)$/)
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")
