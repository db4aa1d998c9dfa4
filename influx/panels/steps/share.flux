// part of whole, 0–1, where there is any of the latter.
share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.whole and r.whole > 0.0)
    |> map(fn: (r) => ({r with _field: "share", _value: if exists r.part then r.part / r.whole else 0.0}))
    |> drop(columns: ["whole", "part"])
    |> group(columns: ["_time", "_value"], mode: "except")
