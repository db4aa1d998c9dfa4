// Resources of a session's own process, the highest of each window.
from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "resources" and r.session_id == params.session_id)
    |> filter(fn: (r) => r._field =~ /^(memory_mb|cpu_percent|threads|open_files)$/)
    |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "_field", "_value"])
    |> yield(name: "fields")
