// What is saved, where a competitor's price is given.
priced = (tables=<-, params) => tables |> filter(fn: (r) => exists r.competitor)
