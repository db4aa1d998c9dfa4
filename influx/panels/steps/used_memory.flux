// Memory that is in use, in bytes and as all there is.
used_memory = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> map(fn: (r) => ({r with _field: "used_memory", _value: r.memory_total - r.memory_available}))
    |> drop(columns: ["memory_total", "memory_available"])
    |> group(columns: ["_time", "_value"], mode: "except")
