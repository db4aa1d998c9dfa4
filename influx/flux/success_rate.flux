// What the success rate of each site is made of, of each window: pages, good pages, block pages, and errors.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
sums = (measurement, fields) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement)
    |> filter(fn: (r) => r._field =~ fields)
    |> filter(fn: bySite)
    |> total()
    |> group(columns: ["site", "_field"])
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])

sums(measurement: "pages", fields: /^(count|ok|blocked)$/) |> yield(name: "pages")
sums(measurement: "errors", fields: /^count$/) |> yield(name: "errors")
