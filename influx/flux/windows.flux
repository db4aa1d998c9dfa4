// One measurement in one tier by window and series, as the roller wants it; patterns say which fields are what.
// Series that differ by their session alone are put together by the caller, who knows what a field means.
read = (fields) => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == params.measurement)
    |> filter(fn: (r) => r._field =~ fields)
by = (tables=<-, fn) => tables
    |> aggregateWindow(every: v.windowPeriod, fn: fn, createEmpty: false, timeSrc: "_start")
    |> keep(columns: params.columns)

read(fields: params.sums) |> by(fn: sum) |> yield(name: "sums")
read(fields: params.maxima) |> by(fn: max) |> yield(name: "maxima")
read(fields: params.means) |> by(fn: mean) |> yield(name: "means")
read(fields: params.tops) |> by(fn: max) |> yield(name: "tops")
read(fields: params.worsts) |> by(fn: max) |> yield(name: "worsts")

// With the time of the last itself, so that of several sessions the latest can be told.
read(fields: params.lasts)
    |> window(every: v.windowPeriod)
    |> last()
    |> yield(name: "lasts")
