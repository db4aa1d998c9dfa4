// How many pages took how long: a row for each bucket of the histogram (scrapewatch.histogram) that has any. Two neighbours are put
// together, so that each edge is twice the one before, and not √2 times.
import "math"
import "strings"

edge_text = (k) => {
    ms = math.pow(x: 2.0, y: float(v: k))

    return if k > 20 then "longer" else if ms < 1000.0 then "≤ " + string(v: int(v: ms)) + " ms" else "≤ " + string(v: int(v: ms / 1000.0)) + " s"
}
distribution = (tables=<-, params) => tables
    |> filter(fn: (r) => r._value > 0.0)
    |> map(fn: (r) => ({k: (int(v: strings.trimPrefix(v: r._field, prefix: "h")) + 1) / 2, pages: r._value}))
    |> group(columns: ["k"])
    |> sum(column: "pages")
    |> group()
    |> sort(columns: ["k"])
    |> map(fn: (r) => ({took: edge_text(k: r.k), pages: r.pages}))
