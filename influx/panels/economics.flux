// What each site cost in one currency in the whole range, and its valid results, as scrapewatch.answers.site_costs divides costs: what was
// reported for a site, and its part of what was reported for none, by its share of all pages. What proxies say that they cost counts
// where nothing of the kind proxy was reported as a cost.
points = (measurement, field) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement and r._field == field)
by_site = (tables=<-, field) => tables
    |> group(columns: ["site"])
    |> sum()
    |> toFloat()
    |> set(key: "_field", value: field)
    |> keep(columns: ["site", "_field", "_value"])
together = (tables=<-) => {
    found = tables
        |> group()
        |> sum()
        |> toFloat()
        |> findColumn(fn: (key) => true, column: "_value")

    return if length(arr: found) > 0 then found[0] else 0.0
}
costs = points(measurement: "costs", field: "amount")
pages = points(measurement: "pages", field: "count") |> by_site(field: "shared")
reported = costs |> filter(fn: (r) => r.kind == "proxy") |> together()
own_currency = costs |> filter(fn: (r) => r.currency == params.currency)
of_no_site = own_currency |> filter(fn: (r) => not exists r.site) |> together()
of_proxies = points(measurement: "proxies", field: "cost") |> together()
shared = of_no_site + (if reported > 0.0 then 0.0 else of_proxies)
all_pages = pages |> together()

union(
    tables: [
        own_currency
            |> filter(fn: (r) => exists r.site)
            |> by_site(field: "own"),
        pages |> map(fn: (r) => ({r with _value: if all_pages > 0.0 then r._value * shared / all_pages else 0.0})),
        points(measurement: "jobs", field: "saved") |> by_site(field: "results"),
    ],
)
    |> group(columns: ["site", "_field"])
    |> yield(name: "fields")
