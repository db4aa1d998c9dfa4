// Share of requests after which the proxy was banned.
ban_share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.requests and r.requests > 0.0)
    |> map(fn: (r) => ({r with _field: "ban_share", _value: if exists r.bans then r.bans / r.requests else 0.0}))
    |> drop(columns: ["bans", "requests"])
    |> group(columns: ["_time", "_value"], mode: "except")
