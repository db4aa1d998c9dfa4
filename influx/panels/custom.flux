// Figures of the users' own, the mean of each window.
from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "custom" and r._field == "value")
    |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "name", "unit", "labels", "_value"])
    |> yield(name: "value")
