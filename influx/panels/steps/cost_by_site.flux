// A row for each site: what it cost, of its own and as its share of what belongs to none, its valid results, and the cost of 1,000 of these.
import "internal/debug"

cost_by_site = (tables=<-, params) => tables
    |> group()
    |> pivot(rowKey: ["site"], columnKey: ["_field"], valueColumn: "_value")
    |> map(
        fn: (r) => {
            own = if exists r.own then r.own else 0.0
            shared = if exists r.shared then r.shared else 0.0
            results = if exists r.results then r.results else 0.0
            cost = own + shared

            return {
                site: r.site,
                cost: cost,
                own: own,
                shared: shared,
                results: results,
                cost_per_1000: if results > 0.0 then cost * 1000.0 / results else debug.null(type: "float"),
            }
        },
    )
    |> filter(fn: (r) => r.cost > 0.0 or r.results > 0.0)
    |> sort(columns: ["cost"], desc: true)
