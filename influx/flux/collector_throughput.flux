// What the collectors did, of each window.
byCollector = if params.collector == "" then (r) => true else (r) => r.collector == params.collector
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "collector")
    |> filter(fn: (r) => r._field =~ /^(accepted|delivered|dead_lettered|duplicates|requests|rejected|refused|live_dropped|sampler_seconds)$/)
    |> filter(fn: byCollector)
    |> total()
    |> group(columns: ["collector", "_field"])
    |> total()
    |> keep(columns: ["_time", "collector", "_field", "_value"])
    |> yield(name: "fields")
