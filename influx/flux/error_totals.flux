// Errors of the whole range by site and type.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "errors" and r._field == "count")
    |> filter(fn: bySite)
    |> group(columns: ["site", "type"])
    |> sum()
    |> set(key: "_time", value: string(v: v.timeRangeStart))
    |> keep(columns: ["_time", "site", "type", "_value"])
    |> yield(name: "count")
