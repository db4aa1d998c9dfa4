// How many items were looked at in the whole range, and what share of them was valid, and was seen before.
quality = (tables=<-, params) => {
    sums = tables
        |> sum()
        |> group()
        |> map(fn: (r) => ({_time: time(v: params.stop), _field: r._field, _value: r._value}))
        |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
        |> filter(fn: (r) => exists r.items and r.items > 0.0)
        |> map(
            fn: (r) => ({
                items: r.items,
                valid: if exists r.valid then r.valid else 0.0,
                duplicates: if exists r.duplicates then r.duplicates else 0.0,
            }),
        )
    row = (name, value) => sums |> map(fn: (r) => ({_time: time(v: params.stop), _field: name, _value: value(r: r)}))

    return union(
        tables: [
            row(name: "items", value: (r) => r.items),
            row(name: "valid_share", value: (r) => r.valid / r.items),
            row(name: "duplicate_share", value: (r) => r.duplicates / r.items),
        ],
    )
        |> group(columns: ["_field"])
}
