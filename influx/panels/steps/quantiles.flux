// The times that half, 95 % and 99 % did not exceed, of the histogram of each window (scrapewatch.histogram): right to a factor of √2.
// Written out, a row for a window, and sought by halves: with a table for each window, as histogramQuantile wants them, it takes ten
// times as long.
// How many took no longer than each edge.
up_to = (r) => {
    c00 = if exists r.h00 then r.h00 else 0.0
    c01 = c00 + (if exists r.h01 then r.h01 else 0.0)
    c02 = c01 + (if exists r.h02 then r.h02 else 0.0)
    c03 = c02 + (if exists r.h03 then r.h03 else 0.0)
    c04 = c03 + (if exists r.h04 then r.h04 else 0.0)
    c05 = c04 + (if exists r.h05 then r.h05 else 0.0)
    c06 = c05 + (if exists r.h06 then r.h06 else 0.0)
    c07 = c06 + (if exists r.h07 then r.h07 else 0.0)
    c08 = c07 + (if exists r.h08 then r.h08 else 0.0)
    c09 = c08 + (if exists r.h09 then r.h09 else 0.0)
    c10 = c09 + (if exists r.h10 then r.h10 else 0.0)
    c11 = c10 + (if exists r.h11 then r.h11 else 0.0)
    c12 = c11 + (if exists r.h12 then r.h12 else 0.0)
    c13 = c12 + (if exists r.h13 then r.h13 else 0.0)
    c14 = c13 + (if exists r.h14 then r.h14 else 0.0)
    c15 = c14 + (if exists r.h15 then r.h15 else 0.0)
    c16 = c15 + (if exists r.h16 then r.h16 else 0.0)
    c17 = c16 + (if exists r.h17 then r.h17 else 0.0)
    c18 = c17 + (if exists r.h18 then r.h18 else 0.0)
    c19 = c18 + (if exists r.h19 then r.h19 else 0.0)
    c20 = c19 + (if exists r.h20 then r.h20 else 0.0)
    c21 = c20 + (if exists r.h21 then r.h21 else 0.0)
    c22 = c21 + (if exists r.h22 then r.h22 else 0.0)
    c23 = c22 + (if exists r.h23 then r.h23 else 0.0)
    c24 = c23 + (if exists r.h24 then r.h24 else 0.0)
    c25 = c24 + (if exists r.h25 then r.h25 else 0.0)
    c26 = c25 + (if exists r.h26 then r.h26 else 0.0)
    c27 = c26 + (if exists r.h27 then r.h27 else 0.0)
    c28 = c27 + (if exists r.h28 then r.h28 else 0.0)
    c29 = c28 + (if exists r.h29 then r.h29 else 0.0)
    c30 = c29 + (if exists r.h30 then r.h30 else 0.0)
    c31 = c30 + (if exists r.h31 then r.h31 else 0.0)
    c32 = c31 + (if exists r.h32 then r.h32 else 0.0)
    c33 = c32 + (if exists r.h33 then r.h33 else 0.0)
    c34 = c33 + (if exists r.h34 then r.h34 else 0.0)
    c35 = c34 + (if exists r.h35 then r.h35 else 0.0)
    c36 = c35 + (if exists r.h36 then r.h36 else 0.0)
    c37 = c36 + (if exists r.h37 then r.h37 else 0.0)
    c38 = c37 + (if exists r.h38 then r.h38 else 0.0)
    c39 = c38 + (if exists r.h39 then r.h39 else 0.0)
    c40 = c39 + (if exists r.h40 then r.h40 else 0.0)
    c41 = c40 + (if exists r.h41 then r.h41 else 0.0)

    return {
        c00: c00, c01: c01, c02: c02, c03: c03, c04: c04, c05: c05, c06: c06,
        c07: c07, c08: c08, c09: c09, c10: c10, c11: c11, c12: c12, c13: c13,
        c14: c14, c15: c15, c16: c16, c17: c17, c18: c18, c19: c19, c20: c20,
        c21: c21, c22: c22, c23: c23, c24: c24, c25: c25, c26: c26, c27: c27,
        c28: c28, c29: c29, c30: c30, c31: c31, c32: c32, c33: c33, c34: c34,
        c35: c35, c36: c36, c37: c37, c38: c38, c39: c39, c40: c40, c41: c41,
    }
}
within = (rank, low, high, before, after) => low + (high - low) * (rank - before) / (after - before)
quantile = (n, rank) =>
    if n.c20 >= rank then
        if n.c10 >= rank then
            if n.c05 >= rank then
                if n.c02 >= rank then
                    if n.c01 >= rank then
                        if n.c00 >= rank then
                            within(rank: rank, low: 0.0, high: 0.001, before: 0.0, after: n.c00)
                        else
                            within(rank: rank, low: 0.001, high: 0.0014142135623730952, before: n.c00, after: n.c01)
                    else
                        within(rank: rank, low: 0.0014142135623730952, high: 0.002, before: n.c01, after: n.c02)
                else
                    if n.c04 >= rank then
                        if n.c03 >= rank then
                            within(rank: rank, low: 0.002, high: 0.0028284271247461905, before: n.c02, after: n.c03)
                        else
                            within(rank: rank, low: 0.0028284271247461905, high: 0.004, before: n.c03, after: n.c04)
                    else
                        within(rank: rank, low: 0.004, high: 0.005656854249492381, before: n.c04, after: n.c05)
            else
                if n.c08 >= rank then
                    if n.c07 >= rank then
                        if n.c06 >= rank then
                            within(rank: rank, low: 0.005656854249492381, high: 0.008, before: n.c05, after: n.c06)
                        else
                            within(rank: rank, low: 0.008, high: 0.011313708498984762, before: n.c06, after: n.c07)
                    else
                        within(rank: rank, low: 0.011313708498984762, high: 0.016, before: n.c07, after: n.c08)
                else
                    if n.c09 >= rank then
                        within(rank: rank, low: 0.016, high: 0.022627416997969524, before: n.c08, after: n.c09)
                    else
                        within(rank: rank, low: 0.022627416997969524, high: 0.032, before: n.c09, after: n.c10)
        else
            if n.c15 >= rank then
                if n.c13 >= rank then
                    if n.c12 >= rank then
                        if n.c11 >= rank then
                            within(rank: rank, low: 0.032, high: 0.04525483399593905, before: n.c10, after: n.c11)
                        else
                            within(rank: rank, low: 0.04525483399593905, high: 0.064, before: n.c11, after: n.c12)
                    else
                        within(rank: rank, low: 0.064, high: 0.0905096679918781, before: n.c12, after: n.c13)
                else
                    if n.c14 >= rank then
                        within(rank: rank, low: 0.0905096679918781, high: 0.128, before: n.c13, after: n.c14)
                    else
                        within(rank: rank, low: 0.128, high: 0.1810193359837562, before: n.c14, after: n.c15)
            else
                if n.c18 >= rank then
                    if n.c17 >= rank then
                        if n.c16 >= rank then
                            within(rank: rank, low: 0.1810193359837562, high: 0.256, before: n.c15, after: n.c16)
                        else
                            within(rank: rank, low: 0.256, high: 0.3620386719675124, before: n.c16, after: n.c17)
                    else
                        within(rank: rank, low: 0.3620386719675124, high: 0.512, before: n.c17, after: n.c18)
                else
                    if n.c19 >= rank then
                        within(rank: rank, low: 0.512, high: 0.7240773439350248, before: n.c18, after: n.c19)
                    else
                        within(rank: rank, low: 0.7240773439350248, high: 1.024, before: n.c19, after: n.c20)
    else
        if n.c31 >= rank then
            if n.c26 >= rank then
                if n.c23 >= rank then
                    if n.c22 >= rank then
                        if n.c21 >= rank then
                            within(rank: rank, low: 1.024, high: 1.4481546878700495, before: n.c20, after: n.c21)
                        else
                            within(rank: rank, low: 1.4481546878700495, high: 2.048, before: n.c21, after: n.c22)
                    else
                        within(rank: rank, low: 2.048, high: 2.896309375740099, before: n.c22, after: n.c23)
                else
                    if n.c25 >= rank then
                        if n.c24 >= rank then
                            within(rank: rank, low: 2.896309375740099, high: 4.096, before: n.c23, after: n.c24)
                        else
                            within(rank: rank, low: 4.096, high: 5.792618751480198, before: n.c24, after: n.c25)
                    else
                        within(rank: rank, low: 5.792618751480198, high: 8.192, before: n.c25, after: n.c26)
            else
                if n.c29 >= rank then
                    if n.c28 >= rank then
                        if n.c27 >= rank then
                            within(rank: rank, low: 8.192, high: 11.585237502960396, before: n.c26, after: n.c27)
                        else
                            within(rank: rank, low: 11.585237502960396, high: 16.384, before: n.c27, after: n.c28)
                    else
                        within(rank: rank, low: 16.384, high: 23.170475005920792, before: n.c28, after: n.c29)
                else
                    if n.c30 >= rank then
                        within(rank: rank, low: 23.170475005920792, high: 32.768, before: n.c29, after: n.c30)
                    else
                        within(rank: rank, low: 32.768, high: 46.340950011841585, before: n.c30, after: n.c31)
        else
            if n.c36 >= rank then
                if n.c34 >= rank then
                    if n.c33 >= rank then
                        if n.c32 >= rank then
                            within(rank: rank, low: 46.340950011841585, high: 65.536, before: n.c31, after: n.c32)
                        else
                            within(rank: rank, low: 65.536, high: 92.68190002368317, before: n.c32, after: n.c33)
                    else
                        within(rank: rank, low: 92.68190002368317, high: 131.072, before: n.c33, after: n.c34)
                else
                    if n.c35 >= rank then
                        within(rank: rank, low: 131.072, high: 185.36380004736634, before: n.c34, after: n.c35)
                    else
                        within(rank: rank, low: 185.36380004736634, high: 262.144, before: n.c35, after: n.c36)
            else
                if n.c39 >= rank then
                    if n.c38 >= rank then
                        if n.c37 >= rank then
                            within(rank: rank, low: 262.144, high: 370.7276000947327, before: n.c36, after: n.c37)
                        else
                            within(rank: rank, low: 370.7276000947327, high: 524.288, before: n.c37, after: n.c38)
                    else
                        within(rank: rank, low: 524.288, high: 741.4552001894654, before: n.c38, after: n.c39)
                else
                    if n.c40 >= rank then
                        within(rank: rank, low: 741.4552001894654, high: 1048.576, before: n.c39, after: n.c40)
                    else
                        1048.576
quantiles = (tables=<-, params) => {
    wide = tables
        |> group(columns: ["_time", "_field", "_value"], mode: "except")
        |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
        |> map(
            fn: (r) => {
                n = up_to(r: r)

                return {r with
                    counted: n.c41,
                    p50: quantile(n: n, rank: 0.5 * n.c41),
                    p95: quantile(n: n, rank: 0.95 * n.c41),
                    p99: quantile(n: n, rank: 0.99 * n.c41),
                }
            },
        )
        |> filter(fn: (r) => r.counted > 0.0)
        |> drop(fn: (column) => column =~ /^(h[0-9][0-9]|counted)$/)

    return union(
        tables: [
            wide |> map(fn: (r) => ({r with _field: "p50", _value: r.p50})),
            wide |> map(fn: (r) => ({r with _field: "p95", _value: r.p95})),
            wide |> map(fn: (r) => ({r with _field: "p99", _value: r.p99})),
        ],
    )
        |> drop(columns: ["p50", "p95", "p99"])
        |> group(columns: ["_time", "_value"], mode: "except")
}
