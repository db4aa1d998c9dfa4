// The sites of cost_by_site together: spent, valid results, the cost of 1,000 of those that were paid for, and where a competitor's price is
// given what it would take for all of them, and what is saved.
economics = (tables=<-, params) => {
    price = if params.competitor_price =~ /^ *[0-9]+([.][0-9]+)? *$/ then
        float(v: strings.trimSpace(v: params.competitor_price))
    else
        -1.0
    sums = tables
        |> map(fn: (r) => ({cost: r.cost, results: r.results, paid: if r.cost > 0.0 then r.results else 0.0}))
        |> reduce(
            identity: {cost: 0.0, results: 0.0, paid: 0.0},
            fn: (r, accumulator) => ({
                cost: accumulator.cost + r.cost,
                results: accumulator.results + r.results,
                paid: accumulator.paid + r.paid,
            }),
        )
    row = (name, value, known) => sums
        |> filter(fn: known)
        |> map(fn: (r) => ({_time: time(v: params.stop), _field: name, _value: value(r: r)}))
    competitor = (r) => price * r.results / 1000.0

    return union(
        tables: [
            row(name: "spent", value: (r) => r.cost, known: (r) => true),
            row(name: "results", value: (r) => r.results, known: (r) => true),
            row(name: "cost_per_1000", value: (r) => r.cost * 1000.0 / r.paid, known: (r) => r.paid > 0.0),
            row(name: "competitor", value: competitor, known: (r) => price >= 0.0),
            row(name: "saved", value: (r) => competitor(r: r) - r.cost, known: (r) => price >= 0.0),
            row(
                name: "saved_share",
                value: (r) => (competitor(r: r) - r.cost) / competitor(r: r),
                known: (r) => price > 0.0 and r.results > 0.0,
            ),
        ],
    )
        |> group(columns: ["_field"])
}
