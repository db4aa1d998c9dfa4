// What each site came to in the whole range: postings, pages, errors, and how long pages took.
// Grouped sums without windows are made where the points lie; with windows each series would come to Flux to be added up.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
points = (measurement) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement)
    |> filter(fn: bySite)
timed = (tables=<-) => tables
    |> set(key: "_time", value: string(v: v.timeRangeStart))
    |> keep(columns: ["_time", "site", "_field", "_value"])

points(measurement: "jobs")
    |> filter(fn: (r) => r._field =~ /^(scraped|saved)$/)
    |> group(columns: ["site", "_field"])
    |> sum()
    |> timed()
    |> yield(name: "jobs")

points(measurement: "pages")
    |> filter(fn: (r) => r._field == "count")
    |> group(columns: ["site"])
    |> sum()
    |> timed()
    |> yield(name: "pages")

points(measurement: "pages")
    |> filter(fn: (r) => r._field =~ /^(ok|blocked|duration_count|duration_sum|h[0-9][0-9])$/)
    |> group(columns: ["site", "_field"])
    |> sum()
    |> timed()
    |> yield(name: "fields")

points(measurement: "pages")
    |> filter(fn: (r) => r._field == "duration_max")
    |> group(columns: ["site"])
    |> max()
    |> drop(columns: ["_time"])
    |> timed()
    |> yield(name: "duration_max")

points(measurement: "errors")
    |> filter(fn: (r) => r._field == "count")
    |> group(columns: ["site"])
    |> sum()
    |> timed()
    |> yield(name: "errors")
