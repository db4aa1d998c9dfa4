// A week as a table: a row for each hour of the day, a column for each weekday.
import "date"

week_table = (tables=<-, params) => {
    day = (time) => {
        n = date.weekDay(t: time)

        return if n == 0 then "Sun" else if n == 1 then "Mon" else if n == 2 then "Tue" else if n == 3 then "Wed" else if n == 4 then "Thu" else if n == 5 then "Fri" else "Sat"
    }

    return tables
        |> group()
        |> map(fn: (r) => ({hour: date.hour(t: r._time), day: day(time: r._time), _value: r._value}))
        |> pivot(rowKey: ["hour"], columnKey: ["day"], valueColumn: "_value")
        |> sort(columns: ["hour"])
}
