// Changes of the state of sessions, of each window.
from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "session_states" and r._field == "count")
    |> group(columns: ["state"])
    |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "state", "_value"])
    |> yield(name: "count")
