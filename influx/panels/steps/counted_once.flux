// Costs by kind without what proxies say that they cost, where costs of the kind `proxy` were reported: it is the same money.
counted_once = (tables=<-, params) => {
    reported = tables
        |> filter(fn: (r) => r.kind == "proxy")
        |> group()
        |> count()
        |> findColumn(fn: (key) => true, column: "_value")

    return tables |> filter(fn: (r) => r.kind != "proxies" or length(arr: reported) == 0)
}
