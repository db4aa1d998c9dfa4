// A row for each proxy: what it carried in the whole range, how well, and what that cost.
proxy_table = (tables=<-, params) => {
    or_none = (v, known) => if known then v else 0.0
    added = tables |> filter(fn: (r) => r._field != "latency_max") |> sum()
    slowest = tables |> filter(fn: (r) => r._field == "latency_max") |> max() |> drop(columns: ["_time"])

    return union(tables: [added, slowest])
        |> group()
        |> pivot(rowKey: ["provider", "proxy"], columnKey: ["_field"], valueColumn: "_value")
        |> map(
            fn: (r) => {
                requests = or_none(v: r.requests, known: exists r.requests)
                failures = or_none(v: r.failures, known: exists r.failures)
                bans = or_none(v: r.bans, known: exists r.bans)
                cost = or_none(v: r.cost, known: exists r.cost)
                good = if requests > failures then requests - failures else 0.0

                return {
                    provider: r.provider,
                    proxy: if exists r.proxy then r.proxy else "",
                    requests: requests,
                    good_share: if requests > 0.0 then good / requests else 0.0,
                    ban_share: if requests > 0.0 then bans / requests else 0.0,
                    latency: if exists r.latency_count and r.latency_count > 0.0 then r.latency_sum / r.latency_count else 0.0,
                    latency_max: or_none(v: r.latency_max, known: exists r.latency_max),
                    bytes: or_none(v: r.bytes, known: exists r.bytes),
                    cost: cost,
                    cost_of_thousand: if good > 0.0 then cost * 1000.0 / good else 0.0,
                }
            },
        )
        |> sort(columns: ["requests"], desc: true)
}
