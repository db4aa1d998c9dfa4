// What each session did, of each window.
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
// A shard holds the series of thousands of sessions: read as groups, only those with points in the range cost.
sums = (measurement, fields) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement)
    |> filter(fn: (r) => r._field =~ fields)
    |> group(columns: ["session_id", "_field"])
    |> total()
    |> keep(columns: ["_time", "session_id", "_field", "_value"])

sums(measurement: "jobs", fields: /^scraped$/) |> yield(name: "scraped")
sums(measurement: "pages", fields: /^(count|ok)$/) |> yield(name: "pages")
sums(measurement: "errors", fields: /^count$/) |> yield(name: "errors")
