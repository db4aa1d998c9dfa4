// Of each pair of fields <name>_sum and <name>_count the mean, as <name>.
import "strings"

means = (tables=<-, params) => tables
    |> map(fn: (r) => ({r with of: if strings.hasSuffix(v: r._field, suffix: "_sum") then "sum" else "count"}))
    |> map(fn: (r) => ({r with _field: strings.trimSuffix(v: r._field, suffix: "_" + r.of)}))
    |> group(columns: ["_time", "of", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["of"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.sum and exists r.count and r.count > 0.0)
    |> map(fn: (r) => ({r with _value: r.sum / r.count}))
    |> drop(columns: ["sum", "count"])
