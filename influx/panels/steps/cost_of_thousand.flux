// What 1,000 requests that did not fail cost, by the proxies' own account.
cost_of_thousand = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.requests and exists r.cost)
    |> map(fn: (r) => ({r with good: r.requests - (if exists r.failures then r.failures else 0.0)}))
    |> filter(fn: (r) => r.good > 0.0)
    |> map(fn: (r) => ({r with _field: "cost_of_thousand", _value: r.cost * 1000.0 / r.good}))
    |> drop(columns: ["requests", "failures", "cost", "good"])
    |> group(columns: ["_time", "_value"], mode: "except")
