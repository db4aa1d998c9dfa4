// How far each session was at each site: the most of each window.
// A shard holds the series of thousands of sessions: read as groups, only those with points in the range cost.
from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "progress")
    |> filter(fn: (r) => r._field =~ /^(done|total)$/)
    |> group(columns: ["session_id", "site", "_field"])
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "session_id", "site", "_field", "_value"])
    |> yield(name: "fields")
