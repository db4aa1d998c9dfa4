// A row for each field of a posting, the one that is filled least first: the share of items of the whole range that have it.
coverage_rows = (tables=<-, params) => tables
    |> group(columns: ["field", "_field"])
    |> sum()
    |> group()
    |> pivot(rowKey: ["field"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(fn: (r) => ({field: r.field, coverage: if exists r.covered then r.covered / r.items else 0.0}))
    |> sort(columns: ["coverage"])
