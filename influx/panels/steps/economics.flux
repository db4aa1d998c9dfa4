// The sites of cost_by_site together, as one row: spent, valid results, the cost of 1,000 of those that were paid for, and where a competitor's
// price is given what it would take for all of them, and what is saved.
import "internal/debug"

economics = (tables=<-, params) => {
    price = if params.competitor_price =~ /^ *[0-9]+([.][0-9]+)? *$/ then
        float(v: strings.trimSpace(v: params.competitor_price))
    else
        -1.0

    return tables
        |> map(fn: (r) => ({cost: r.cost, results: r.results, paid: if r.cost > 0.0 then r.results else 0.0}))
        |> reduce(
            identity: {spent: 0.0, results: 0.0, paid: 0.0},
            fn: (r, accumulator) => ({
                spent: accumulator.spent + r.cost,
                results: accumulator.results + r.results,
                paid: accumulator.paid + r.paid,
            }),
        )
        |> map(
            fn: (r) => {
                competitor = price * r.results / 1000.0

                return {
                    spent: r.spent,
                    results: r.results,
                    cost_per_1000: if r.paid > 0.0 then r.spent * 1000.0 / r.paid else debug.null(type: "float"),
                    competitor: if price >= 0.0 then competitor else debug.null(type: "float"),
                    saved: if price >= 0.0 then competitor - r.spent else debug.null(type: "float"),
                    saved_share: if competitor > 0.0 then (competitor - r.spent) / competitor else debug.null(type: "float"),
                }
            },
        )
}
