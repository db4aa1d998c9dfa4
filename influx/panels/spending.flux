// What scraping cost in one currency, and the valid results, of each window; costs of no site, and of proxies, have no site here either.
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
points = (measurement, field) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement and r._field == field)
costs = points(measurement: "costs", field: "amount")
reported = costs
    |> filter(fn: (r) => r.kind == "proxy")
    |> group()
    |> count()
    |> findColumn(fn: (key) => true, column: "_value")

union(
    tables: [
        costs |> filter(fn: (r) => r.currency == params.currency),
        // Where costs of proxies were reported, theirs would be the same money again.
        points(measurement: "proxies", field: "cost") |> filter(fn: (r) => length(arr: reported) == 0),
    ],
)
    |> group(columns: ["site"])
    |> total()
    |> keep(columns: ["_time", "site", "_value"])
    |> yield(name: "amount")

points(measurement: "jobs", field: "saved")
    |> group(columns: ["site"])
    |> total()
    |> keep(columns: ["_time", "site", "_value"])
    |> yield(name: "saved")
