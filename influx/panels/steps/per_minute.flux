// Counts as rates a minute. Of the window that is not over, what is over counts, and at least a tenth of it.
per_minute = (tables=<-, params) => {
    every = int(v: params.every)
    over = int(v: now())
    length = (start) => if over - start >= every then every else if (over - start) * 10 < every then every / 10 else over - start

    return tables |> map(fn: (r) => ({r with _value: r._value * 60000000000.0 / float(v: length(start: int(v: r._time)))}))
}
