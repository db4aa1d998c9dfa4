// The 15 sessions whose sum is greatest.
busiest = (tables=<-, params) => {
    names = tables
        |> group(columns: ["session_id"])
        |> sum()
        |> group()
        |> sort(columns: ["_value"], desc: true)
        |> limit(n: 15)
        |> findColumn(fn: (key) => true, column: "session_id")

    return tables |> filter(fn: (r) => contains(value: r.session_id, set: names))
}
