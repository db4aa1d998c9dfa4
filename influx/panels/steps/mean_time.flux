// Mean time of a page.
mean_time = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.duration_count and r.duration_count > 0.0)
    |> map(fn: (r) => ({r with _field: "mean_time", _value: r.duration_sum / r.duration_count}))
    |> drop(columns: ["duration_count", "duration_sum"])
    |> group(columns: ["_time", "_value"], mode: "except")
