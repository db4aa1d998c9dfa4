// The sum of each series over the whole range, as one row at its end.
total = (tables=<-, params) => tables
    |> sum()
    |> map(fn: (r) => ({r with _time: time(v: params.stop)}))
