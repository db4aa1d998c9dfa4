// What 1,000 valid results cost.
cost_per_1000 = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.saved and r.saved > 0.0)
    |> map(fn: (r) => ({r with _field: "cost_per_1000", _value: (if exists r.amount then r.amount else 0.0) * 1000.0 / r.saved}))
    |> drop(columns: ["amount", "saved"])
    |> group(columns: ["_time", "_value"], mode: "except")
