// The hours of many days as those of one week: the same weekday and hour added up, at that of the week of Monday, 5 January 2026.
week = (tables=<-, params) => {
    monday = int(v: 2026-01-05T00:00:00Z)
    length = int(v: 7d)
    hour = int(v: 1h)

    return tables
        |> map(fn: (r) => ({r with _time: time(v: monday + ((int(v: r._time) - monday) % length + length) % length / hour * hour)}))
        |> group(columns: ["_value"], mode: "except")
        |> sum()
        |> group(columns: ["_time", "_value"], mode: "except")
}
