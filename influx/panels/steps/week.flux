// The hours of many days as those of one week, the same weekday and hour added up, that of Monday, 5 January 2026.
week = (tables=<-, params) => {
    monday = int(v: 2026-01-05T00:00:00Z)
    length = int(v: 7d)

    return tables
        |> map(fn: (r) => ({r with _time: time(v: monday + (int(v: r._time) - monday) % length)}))
        |> map(fn: (r) => ({r with _time: if r._time < 2026-01-05T00:00:00Z then time(v: int(v: r._time) + length) else r._time}))
        |> group(columns: ["_time", "_value"], mode: "except")
        |> sort(columns: ["_time"])
        |> aggregateWindow(every: 1h, fn: sum, createEmpty: false, timeSrc: "_start")
        |> drop(columns: ["_start", "_stop"])
}
