// One measurement of the sessions by window and series, as the roller wants it; patterns say which fields are what.
// A shard holds the series of thousands of sessions, few of them in a window. Windows that InfluxDB makes while it reads cost each
// series of the shard anew for every aggregate; grouped, and read once for all, only the series with points cost.
points = from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == params.measurement)
    |> group(columns: params.series)
by = (tables=<-, fields, fn) => tables
    |> filter(fn: (r) => r._field =~ fields)
    |> aggregateWindow(every: v.windowPeriod, fn: fn, createEmpty: false, timeSrc: "_start")
    |> keep(columns: params.columns)

points |> by(fields: params.sums, fn: sum) |> yield(name: "sums")
points |> by(fields: params.maxima, fn: max) |> yield(name: "maxima")
points |> by(fields: params.means, fn: mean) |> yield(name: "means")
points |> by(fields: params.tops, fn: max) |> yield(name: "tops")
points |> by(fields: params.worsts, fn: max) |> yield(name: "worsts")

// With the time of the last itself, so that of several sessions the latest can be told.
points
    |> filter(fn: (r) => r._field =~ params.lasts)
    |> window(every: v.windowPeriod)
    |> last()
    |> yield(name: "lasts")
