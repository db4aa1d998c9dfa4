// Figures of the users' own by what they are called, with their labels and unit.
titled = (tables=<-, params) => tables
    |> map(
        fn: (r) => ({
            _time: r._time,
            _field: r.name + (if exists r.labels and r.labels != "" then " " + r.labels else "") + (if exists r.unit and r.unit != "" then ", " + r.unit else ""),
            _value: r._value,
        }),
    )
    |> group(columns: ["_field"])
