// What requests through proxies came to: shares of those that failed and after which the proxy was banned, and the cost of 1,000 good ones.
of_requests = (tables=<-, params) => {
    wide = tables
        |> group(columns: ["_time", "_field", "_value"], mode: "except")
        |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
        |> filter(fn: (r) => exists r.requests and r.requests > 0.0)
        |> map(
            fn: (r) => {
                failures = if exists r.failures then r.failures else 0.0
                good = if r.requests > failures then r.requests - failures else 0.0

                return {r with
                    failures: failures,
                    bans: if exists r.bans then r.bans else 0.0,
                    cost: if exists r.cost then r.cost else 0.0,
                    good: good,
                }
            },
        )
    one = (name, fn) => wide
        |> filter(fn: (r) => name != "cost_per_thousand" or r.good > 0.0)
        |> map(fn: (r) => ({r with _field: name, _value: fn(r: r)}))

    return union(
        tables: [
            one(name: "good_share", fn: (r) => r.good / r.requests),
            one(name: "ban_share", fn: (r) => r.bans / r.requests),
            one(name: "cost_per_thousand", fn: (r) => r.cost * 1000.0 / r.good),
        ],
    )
        |> drop(columns: ["requests", "failures", "bans", "cost", "good"])
        |> group(columns: ["_time", "_value"], mode: "except")
}
