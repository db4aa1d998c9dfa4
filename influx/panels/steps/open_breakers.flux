// How many breakers are open by the latest row of each site.
open_breakers = (tables=<-, params) => tables
    |> last()
    |> group(columns: ["_field"])
    |> map(fn: (r) => ({r with _field: "open", _value: if r._value == 2.0 then 1.0 else 0.0}))
    |> group(columns: ["_field"])
    |> sum()
    |> map(fn: (r) => ({_time: time(v: params.stop), _field: "open", _value: r._value}))
    |> group(columns: ["_field"])
