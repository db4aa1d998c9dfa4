"""The SQL that aggregates a measurement over windows for the roller, made from the registry."""

from __future__ import annotations

from embedded.layout import TableLayout, identifier
from scrapewatch.measurements import MEASUREMENTS, Fold, Tier


def windows_sql(layout: TableLayout, tier: Tier) -> tuple[str, list[str], list[str]]:
    """The statement with ``$start``, ``$stop`` and ``$every``, and the tags and fields that it answers after the time, in order."""
    tags = [tag for tag in layout.tags if tag != "session_id"]
    keys = ", ".join(["1", *(identifier(layout.tags[tag]) for tag in tags)])
    of_series = ["time // $every * $every AS time", *(identifier(layout.tags[tag]) for tag in tags)]
    over_sessions = ["time", *of_series[1:]]
    own = {field.name for field in MEASUREMENTS[layout.measurement].fields}
    names: list[str] = []
    for field in MEASUREMENTS[layout.measurement].fields:
        name, top = identifier(field.name), identifier(f"{field.name}_max")
        match field.fold:
            case Fold.SUM:
                of_series.append(f"sum({name}) AS {name}")
                over_sessions.append(f"sum({name})")
                names.append(field.name)
            case Fold.MAX:
                of_series.append(f"max({name}) AS {name}")
                over_sessions.append(f"max({name})")
                names.append(field.name)
            case Fold.GAUGE:
                of_series.append(f"avg({name}) AS {name}")
                over_sessions.append(f"sum({name})")
                names.append(field.name)
                if f"{field.name}_max" not in own:
                    of_series.append(f"max({name})::DOUBLE AS {top}")
                    over_sessions.append(f"sum({top})")
                    names.append(f"{field.name}_max")
            case Fold.STATE:
                at = identifier(f"{field.name} at")
                of_series += [f"arg_max({name}, time) AS {name}", f"max({name}) AS {top}"]
                if tier is Tier.SESSIONS:
                    of_series.append(f"max(time) FILTER ({name} IS NOT NULL) AS {at}")
                over_sessions += [f"arg_max({name}, {at})", f"max({top})"]
                names += [field.name, f"{field.name}_max"]
    source = f"FROM {identifier(layout.table)} WHERE time >= $start AND time < $stop"
    if tier is not Tier.SESSIONS:
        return f"SELECT {', '.join(of_series)} {source} GROUP BY {keys}", tags, names
    inner = f"SELECT {', '.join([*of_series, 'session_id'])} {source} GROUP BY {keys}, session_id"
    return f"SELECT {', '.join(over_sessions)} FROM ({inner}) GROUP BY {keys}", tags, names  # noqa: S608
