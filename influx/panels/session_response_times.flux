// How long the pages of a session took, of each window, as a histogram.
total = (tables=<-) => tables |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")

from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "pages" and r.session_id == params.session_id)
    |> filter(fn: (r) => r._field =~ /^(h[0-9][0-9]|duration_count|duration_sum)$/)
    |> group(columns: ["site", "_field"])
    |> total()
    |> keep(columns: ["_time", "site", "_field", "_value"])
    |> yield(name: "fields")
