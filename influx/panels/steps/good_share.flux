// Share of requests through proxies that did not fail.
good_share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.requests and r.requests > 0.0)
    |> map(fn: (r) => ({r with _field: "good_share", _value: if exists r.failures then 1.0 - r.failures / r.requests else 1.0}))
    |> drop(columns: ["failures", "requests"])
    |> group(columns: ["_time", "_value"], mode: "except")
