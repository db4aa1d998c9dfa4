// A histogram as a heatmap reads it: a column for each bucket, named by its upper edge in seconds (scrapewatch.histogram).
import "math"
import "strings"

edge = (bucket) => 0.001 * math.pow(x: 2.0, y: float(v: strings.trimPrefix(v: bucket, prefix: "h")) / 2.0)
heatmap = (tables=<-, params) => tables
    |> group(columns: ["_field"])
    |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")
    |> filter(fn: (r) => r._value > 0.0)
    |> group()
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> drop(columns: ["_start", "_stop"])
    |> rename(fn: (column) => if column == "_time" then column else if column == "h41" then "+Inf" else string(v: edge(bucket: column)))
