// A row for each site: its items in the whole range, and the shares of them that were valid, and seen before.
quality_table = (tables=<-, params) => tables
    |> group(columns: ["site", "_field"])
    |> sum()
    |> group()
    |> pivot(rowKey: ["site"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.items and r.items > 0.0)
    |> map(
        fn: (r) => ({
            site: r.site,
            items: r.items,
            valid_share: if exists r.valid then r.valid / r.items else 0.0,
            duplicate_share: if exists r.duplicates then r.duplicates / r.items else 0.0,
        }),
    )
    |> sort(columns: ["valid_share"])
