// How many pages of each site took how long: a row for each bucket of the histogram (scrapewatch.histogram) that has any, a column for each
// site. Two neighbours are put together, so that the edges are doubles and not by √2.
import "math"
import "strings"

distribution = (tables=<-, params) => tables
    |> filter(fn: (r) => r._value > 0.0)
    |> map(
        fn: (r) => {
            k = int(v: strings.trimPrefix(v: r._field, prefix: "h"))

            return {site: r.site, k: if k > 40 then 21 else (k + 1) / 2, _value: r._value}
        },
    )
    |> group(columns: ["site", "k"])
    |> sum()
    |> group()
    |> pivot(rowKey: ["k"], columnKey: ["site"], valueColumn: "_value")
    |> sort(columns: ["k"])
    |> map(
        fn: (r) => {
            edge = 0.001 * math.pow(x: 2.0, y: float(v: r.k))
            took = if r.k > 20 then "longer" else if edge < 1.0 then string(v: math.round(x: edge * 1000.0)) + " ms" else string(v: math.round(x: edge)) + " s"

            return {r with took: if r.k > 20 then took else "≤ " + took}
        },
    )
    |> drop(columns: ["k"])
