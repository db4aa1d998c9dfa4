// The highest value of each series in the whole range, as one row at its end.
highest = (tables=<-, params) => tables
    |> max()
    |> map(fn: (r) => ({r with _time: params.stop}))
