// Share of attempts that brought a good page. A failed attempt may be reported as a page with a bad status, as an error, or as both:
// the larger of the two counts is what is sure.
success_rate = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> map(
        fn: (r) => {
            ok = if exists r.ok then r.ok else 0.0
            bad = (if exists r.pages then r.pages else 0.0) - ok
            errors = if exists r.errors then r.errors else 0.0
            made = ok + (if bad > errors then bad else errors)

            return {r with _field: "success_rate", _value: if made > 0.0 then ok / made else -1.0}
        },
    )
    |> filter(fn: (r) => r._value >= 0.0)
    |> drop(columns: ["pages", "ok", "errors"])
    |> group(columns: ["_time", "_value"], mode: "except")
