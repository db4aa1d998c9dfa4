// Share of checks that found a service up.
uptime = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.checks and r.checks > 0.0)
    |> map(fn: (r) => ({r with _field: "uptime", _value: if exists r.up then r.up / r.checks else 0.0}))
    |> drop(columns: ["checks", "up"])
    |> group(columns: ["_time", "_value"], mode: "except")
