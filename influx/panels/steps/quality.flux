// How many items were looked at in the whole range, and what share of them was valid, and was seen before: one row.
quality = (tables=<-, params) => tables
    |> group(columns: ["_field"])
    |> sum()
    |> map(fn: (r) => ({_time: time(v: params.stop), _field: r._field, _value: r._value}))
    |> group()
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(
        fn: (r) => ({
            items: r.items,
            valid_share: if exists r.valid then r.valid / r.items else 0.0,
            duplicate_share: if exists r.duplicates then r.duplicates / r.items else 0.0,
        }),
    )
