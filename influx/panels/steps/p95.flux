// Of the quantiles the one that 95 % did not exceed.
p95 = (tables=<-, params) => tables |> filter(fn: (r) => r._field == "p95")
