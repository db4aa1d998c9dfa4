// A figure of the range as a whole, and by how many percent it is more than that of before; of nothing before there is no change.
now_and_change = (tables=<-, params) => {
    figures = tables
        |> last()
        |> group()
        |> map(fn: (r) => ({_time: time(v: params.stop), _field: r._field, _value: r._value}))
    changes = figures
        |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
        |> filter(fn: (r) => exists r.now and exists r.before and r.before != 0.0)
        |> map(fn: (r) => ({_time: r._time, _field: "than_before", _value: 100.0 * (r.now - r.before) / r.before}))

    return union(tables: [figures |> filter(fn: (r) => r._field == "now"), changes])
        |> group(columns: ["_field"])
}
