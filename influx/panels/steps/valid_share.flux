// Share of items that were valid.
valid_share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(fn: (r) => ({r with _field: "valid_share", _value: if exists r.valid then r.valid / r.items else 0.0}))
    |> drop(columns: ["items", "valid"])
    |> group(columns: ["_time", "_value"], mode: "except")
