// Counts as rates a minute.
per_minute = (tables=<-, params) => tables
    |> map(fn: (r) => ({r with _value: r._value * 60000000000.0 / float(v: int(v: params.every))}))
