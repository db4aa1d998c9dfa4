// What the collectors have not delivered yet: the highest of each window.
// The rollups keep the maximum of a gauge beside its mean, under <name>_max.
byCollector = if params.collector == "" then (r) => true else (r) => r.collector == params.collector
gauges = if params.tier =~ /fleet_1[mh]$/ then
    /^(spooled|spool_bytes|flushes_pending|oldest_age|unrecorded_age|problems)_max$/
else
    /^(spooled|spool_bytes|flushes_pending|oldest_age|unrecorded_age|problems)$/

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "collector")
    |> filter(fn: (r) => r._field =~ gauges)
    |> filter(fn: byCollector)
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "collector", "_field", "_value"])
    |> yield(name: "fields")
