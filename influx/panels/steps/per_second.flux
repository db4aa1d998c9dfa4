// Sums as rates a second.
per_second = (tables=<-, params) => tables
    |> map(fn: (r) => ({r with _value: r._value * 1000000000.0 / float(v: int(v: params.every))}))
