// What each site came to in the whole range: postings, pages and their times, errors.
// Grouped sums without windows are made where the points lie; with windows each series would come to Flux to be added up.
bySite = if params.site == "" then (r) => true else (r) => r.site == params.site
sums = (measurement, fields) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == measurement)
    |> filter(fn: (r) => r._field =~ fields)
    |> filter(fn: bySite)
    |> group(columns: ["site", "_field"])
    |> sum()
    |> set(key: "_time", value: string(v: v.timeRangeStart))
    |> keep(columns: ["_time", "site", "_field", "_value"])

sums(measurement: "jobs", fields: /^(scraped|saved)$/) |> yield(name: "jobs")
sums(measurement: "pages", fields: /^(count|ok|blocked|duration_count|duration_sum)$/) |> yield(name: "pages")
sums(measurement: "errors", fields: /^count$/) |> yield(name: "errors")
