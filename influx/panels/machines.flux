// Memory, load and scrapewatch's own share of the machines, the mean of each window; bytes from and to disks are added up.
byHost = if params.host == "" then (r) => true else (r) => r.host == params.host
points = () => from(bucket: params.tier)
    |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
    |> filter(fn: (r) => r._measurement == "host")
    |> filter(fn: byHost)

points()
    |> filter(fn: (r) => r._field =~ /^(memory_total|memory_available|swap_total|load_1|load_5|load_15|process_memory|process_cpu_percent)$/)
    |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "host", "_field", "_value"])
    |> yield(name: "means")

points()
    |> filter(fn: (r) => r._field =~ /^(disk_read_bytes|disk_written_bytes)$/)
    |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false, timeSrc: "_start")
    |> keep(columns: ["_time", "host", "_field", "_value"])
    |> yield(name: "sums")
