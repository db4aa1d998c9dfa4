// What scraping cost, of each window: by site, kind and currency as reported, and by the proxies' own account, which belongs to no site.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
ofProxies = if params.site == "" then (r) => true else (r) => false
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)

points()
    |> filter(fn: (r) => r._measurement == "costs" and r._field == "amount")
    |> filter(fn: bySite)
    |> total()
    |> group(columns: ["site", "kind", "currency"])
    |> total()
    |> keep(columns: ["_time", "site", "kind", "currency", "_value"])
    |> yield(name: "amount")

points()
    |> filter(fn: (r) => r._measurement == "proxies" and r._field == "cost")
    |> filter(fn: ofProxies)
    |> total()
    |> group()
    |> total()
    |> keep(columns: ["_time", "_value"])
    |> set(key: "kind", value: "proxies")
    |> set(key: "_field", value: "amount")
    |> yield(name: "fields")
