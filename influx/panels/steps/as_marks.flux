// Rows as marks over time, each with the name of its site.
as_marks = (tables=<-, params) => tables
    |> group()
    |> map(fn: (r) => ({_time: r._time, text: r.site + ": the circuit breaker opened", tags: "breaker," + r.site}))
