// A histogram as a heatmap reads it: a column for each two buckets, named by their upper edge in seconds (scrapewatch.histogram).
import "math"
import "strings"

heatmap = (tables=<-, params) => {
    // Two buckets √2 apart are one twice as wide as that before: as many as a panel has room to name.
    doubled = (bucket) => {
        number = int(v: strings.trimPrefix(v: bucket, prefix: "h"))
        even = number + number % 2

        return if even < 10 then "h0" + string(v: even) else "h" + string(v: even)
    }
    // Grafana draws them in the order of their names as text: zeros stand in front, and what is longer than all edges is a word.
    edge = (bucket) => {
        seconds = 0.001 * math.pow(x: 2.0, y: float(v: strings.trimPrefix(v: bucket, prefix: "h")) / 2.0)
        zeros = if seconds < 10.0 then "000" else if seconds < 100.0 then "00" else if seconds < 1000.0 then "0" else ""

        return if bucket == "h42" then "longer" else zeros + string(v: seconds)
    }
    summed = (tables=<-) => tables |> group(columns: ["_field"]) |> aggregateWindow(every: params.every, fn: sum, createEmpty: false, timeSrc: "_start")

    return tables
        |> summed()
        |> filter(fn: (r) => r._value > 0.0)
        |> map(fn: (r) => ({_time: r._time, _field: doubled(bucket: r._field), _value: r._value}))
        |> summed()
        |> group()
        |> sort(columns: ["_field"])
        |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
        |> sort(columns: ["_time"])
        |> drop(columns: ["_start", "_stop"])
        |> rename(fn: (column) => if column == "_time" then column else edge(bucket: column))
}
