// Sums as they grow from the beginning of the range.
running = (tables=<-, params) => tables |> cumulativeSum()
