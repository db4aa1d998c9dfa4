// A row for each site and a column for each field of a posting: the share of items of the whole range that have it filled.
coverage_table = (tables=<-, params) => tables
    |> group(columns: ["site", "field", "_field"])
    |> sum()
    |> group(columns: ["site", "field"])
    |> pivot(rowKey: ["site", "field"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(fn: (r) => ({site: r.site, field: r.field, _value: if exists r.covered then r.covered / r.items else 0.0}))
    |> group()
    |> pivot(rowKey: ["site"], columnKey: ["field"], valueColumn: "_value")
    |> sort(columns: ["site"])
