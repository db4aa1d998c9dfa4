// By how much the sum of now is more than that of before, in percent of that; nothing where there was none before.
change = (tables=<-, params) => tables
    |> sum()
    |> group()
    |> map(fn: (r) => ({_time: time(v: params.stop), _field: r._field, _value: r._value}))
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.now and exists r.before and r.before > 0.0)
    |> map(fn: (r) => ({_time: r._time, _field: "change", _value: 100.0 * (r.now - r.before) / r.before}))
    |> group(columns: ["_field"])
