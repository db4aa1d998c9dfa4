// Share of items that were seen before.
duplicate_share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(fn: (r) => ({r with _field: "duplicate_share", _value: if exists r.duplicates then r.duplicates / r.items else 0.0}))
    |> drop(columns: ["items", "duplicates"])
    |> group(columns: ["_time", "_value"], mode: "except")
