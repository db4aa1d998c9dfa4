// Share of items that have a field filled.
coverage = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(fn: (r) => ({r with _field: "coverage", _value: if exists r.covered then r.covered / r.items else 0.0}))
    |> drop(columns: ["items", "covered"])
    |> group(columns: ["_time", "_value"], mode: "except")
