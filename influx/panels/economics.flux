// What each site cost in one currency in the whole range, and its valid results, as scrapewatch.answers.site_costs divides costs: what was
// reported for a site, and its part of what was reported for none, by its share of all pages. What proxies say that they cost counts
// where nothing of the kind proxy was reported as a cost.
import "array"

points = (measurement, field) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement and r._field == field)
sums = (tables=<-, columns) => tables
    |> group(columns: columns)
    |> sum()
    |> toFloat()
by_site = (tables=<-, field) => tables
    |> sums(columns: ["site"])
    |> set(key: "_field", value: field)
    |> keep(columns: ["site", "_field", "_value"])
costs = points(measurement: "costs", field: "amount")
pages = points(measurement: "pages", field: "count") |> by_site(field: "shared")

// All totals at once: each that is looked up is a query of its own.
totals = union(
    tables: [
        costs |> sums(columns: ["site", "kind", "currency"]) |> set(key: "_field", value: "cost"),
        points(measurement: "proxies", field: "cost") |> sums(columns: ["_field"]) |> set(key: "_field", value: "proxies"),
        pages,
        // A row at least, so that there is one to look up.
        array.from(rows: [{_field: "nothing", _value: 0.0}]) |> keep(columns: ["_field", "_value"]),
    ],
)
    |> group()
    |> reduce(
        identity: {reported: 0.0, of_no_site: 0.0, of_proxies: 0.0, pages: 0.0},
        fn: (r, accumulator) => ({
            reported: accumulator.reported + (if r._field == "cost" and r.kind == "proxy" then r._value else 0.0),
            of_no_site:
                accumulator.of_no_site + (if r._field == "cost" and r.currency == params.currency and not exists r.site then
                    r._value
                else
                    0.0),
            of_proxies: accumulator.of_proxies + (if r._field == "proxies" then r._value else 0.0),
            pages: accumulator.pages + (if r._field == "shared" then r._value else 0.0),
        }),
    )
    |> findRecord(fn: (key) => true, idx: 0)
shared = totals.of_no_site + (if totals.reported > 0.0 then 0.0 else totals.of_proxies)

union(
    tables: [
        costs
            |> filter(fn: (r) => r.currency == params.currency and exists r.site)
            |> by_site(field: "own"),
        pages |> map(fn: (r) => ({r with _value: if totals.pages > 0.0 then r._value * shared / totals.pages else 0.0})),
        points(measurement: "jobs", field: "saved") |> by_site(field: "results"),
    ],
)
    |> group(columns: ["site", "_field"])
    |> yield(name: "fields")
