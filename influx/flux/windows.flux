// One measurement in one tier by window and series, as the roller wants it. Patterns say which fields are what; the session is dropped.
// A gauge of the sessions is the sum over the sessions of each one's.
read = (fields) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == params.measurement)
    |> filter(fn: (r) => r._field =~ fields)
by = (tables=<-, fn) => tables |> aggregateWindow(every: v.windowPeriod, fn: fn, createEmpty: false, timeSrc: "_start")
acrossMeans = if params.tier =~ /sessions$/ then sum else mean
acrossMaxima = if params.tier =~ /sessions$/ then sum else max

read(fields: params.sums) |> by(fn: sum) |> group(columns: params.series) |> by(fn: sum) |> yield(name: "sums")
read(fields: params.maxima) |> by(fn: max) |> group(columns: params.series) |> by(fn: max) |> yield(name: "maxima")
read(fields: params.gauges) |> by(fn: mean) |> group(columns: params.series) |> by(fn: acrossMeans) |> yield(name: "means")
read(fields: params.gauges) |> by(fn: max) |> group(columns: params.series) |> by(fn: acrossMaxima) |> yield(name: "tops")
read(fields: params.states)
    |> window(every: v.windowPeriod)
    |> last()
    |> group(columns: params.series)
    |> sort(columns: ["_time"])
    |> by(fn: last)
    |> yield(name: "lasts")
read(fields: params.states) |> by(fn: max) |> group(columns: params.series) |> by(fn: max) |> yield(name: "worsts")
