// The times that half, 95 % and 99 % did not exceed, of the histogram of each window (scrapewatch.histogram): right to a factor of √2.
import "math"
import "strings"

upper = (bucket) => if bucket == "h41" then
    math.mInf(sign: 1)
else
    0.001 * math.pow(x: 2.0, y: float(v: strings.trimPrefix(v: bucket, prefix: "h")) / 2.0)
quantiles = (tables=<-, params) => {
    counted = tables
        |> group(columns: ["_field", "_value"], mode: "except")
        |> sort(columns: ["_field"])
        |> cumulativeSum()
        |> map(fn: (r) => ({r with le: upper(bucket: r._field)}))
        |> drop(columns: ["_field"])
    at = (q, name) => counted
        |> filter(fn: (r) => r._value > 0.0)
        |> histogramQuantile(quantile: q, minValue: 0.0)
        |> set(key: "_field", value: name)

    return union(tables: [at(q: 0.5, name: "p50"), at(q: 0.95, name: "p95"), at(q: 0.99, name: "p99")])
        |> group(columns: ["_time", "_value"], mode: "except")
        |> sort(columns: ["_time"])
}
