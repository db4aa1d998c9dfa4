// The latest row of each series.
latest = (tables=<-, params) => tables |> last()
