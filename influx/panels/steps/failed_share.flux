// Share of the attempts at a site that ended badly.
failed_share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> map(
        fn: (r) => {
            failed = if exists r.failed then r.failed else 0.0
            ended = failed + (if exists r.succeeded then r.succeeded else 0.0)

            return {r with _field: "failed_share", _value: if ended > 0.0 then failed / ended else -1.0}
        },
    )
    |> filter(fn: (r) => r._value >= 0.0)
    |> drop(columns: ["succeeded", "failed"])
    |> group(columns: ["_time", "_value"], mode: "except")
