// The queue and the scrapers at work: the highest of each window, by session where the tier knows sessions.
// The rollups keep the maximum of a gauge beside its mean, under <name>_max.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
suffix = if params.tier =~ /fleet_1[mh]$/ then "_max" else ""
highest = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false, timeSrc: "_start")
top = (name) => {
    field = name + suffix

    return from(bucket: params.tier)
        |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
        |> filter(fn: (r) => r._measurement == "queue" and r._field == field)
        |> filter(fn: bySite)
        |> highest()
        |> keep(columns: ["_time", "session_id", "site", "_value"])
}

top(name: "depth") |> yield(name: "depth")
top(name: "pending") |> yield(name: "pending")
top(name: "active_scrapers") |> yield(name: "active_scrapers")
