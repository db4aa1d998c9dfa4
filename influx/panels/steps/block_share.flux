// Share of pages that were a block, captcha or consent wall.
block_share = (tables=<-, params) => tables
    |> group(columns: ["_time", "_field", "_value"], mode: "except")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.pages and r.pages > 0.0)
    |> map(fn: (r) => ({r with _field: "block_share", _value: if exists r.blocked then r.blocked / r.pages else 0.0}))
    |> drop(columns: ["blocked", "pages"])
    |> group(columns: ["_time", "_value"], mode: "except")
