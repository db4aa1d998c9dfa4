// A row for each site with the number of errors of each type in a column of its own.
error_table = (tables=<-, params) => tables
    |> group()
    |> pivot(rowKey: ["site"], columnKey: ["type"], valueColumn: "_value")
    |> drop(columns: ["_time", "_field"])
    |> sort(columns: ["site"])
