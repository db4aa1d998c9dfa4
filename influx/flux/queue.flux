// The queue and the scrapers at work: the highest of each window, by session where the tier knows sessions.
// The rollups keep the maximum of a gauge beside its mean, under <name>_max.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
gauges = if params.tier =~ /fleet_1[mh]$/ then /^(depth|pending|active_scrapers)_max$/ else /^(depth|pending|active_scrapers)$/

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "queue")
    |> filter(fn: (r) => r._field =~ gauges)
    |> filter(fn: bySite)
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "session_id", "site", "_field", "_value"])
    |> yield(name: "fields")
