// A row for each site: what it came to in the whole range, and the shares and times that follow.
site_table = (tables=<-, params) => {
    or_none = (v, known) => if known then v else 0.0

    return tables
        |> group()
        |> pivot(rowKey: ["site"], columnKey: ["_field"], valueColumn: "_value")
        |> map(
            fn: (r) => {
                pages = or_none(v: r.pages, known: exists r.pages)
                ok = or_none(v: r.ok, known: exists r.ok)
                blocked = or_none(v: r.blocked, known: exists r.blocked)
                errors = or_none(v: r.errors, known: exists r.errors)
                counted = up_to(r: r)
                made = ok + (if pages - ok > errors then pages - ok else errors)

                return {
                    site: r.site,
                    scraped: or_none(v: r.scraped, known: exists r.scraped),
                    pages: pages,
                    success_rate: if made > 0.0 then ok / made else 0.0,
                    block_share: if pages > 0.0 then blocked / pages else 0.0,
                    mean_time: if exists r.duration_count and r.duration_count > 0.0 then r.duration_sum / r.duration_count else 0.0,
                    p95: if counted.c41 > 0.0 then quantile(n: counted, rank: 0.95 * counted.c41) else 0.0,
                    duration_max: or_none(v: r.duration_max, known: exists r.duration_max),
                    errors: errors,
                }
            },
        )
        |> sort(columns: ["scraped"], desc: true)
}
