"""Points of every measurement and tier, with names that try to be something else."""

from __future__ import annotations

import random
from collections.abc import Iterator

from scrapewatch.line_protocol import Point, Value, tag_value
from scrapewatch.measurements import KEEPING, MEASUREMENTS, Field, Fold, Measurement, Tier, fields_in
from scrapewatch.time import DAY, SECOND, now_ns, window_start

# All fit the retention of every tier for as long as the tests run, and lie in one shard of each.
BASE = window_start(now_ns(), DAY) - 3 * DAY

HOSTILE = tuple(
    tag_value(name)
    for name in (
        "indeed",
        "Indeed",
        "two words",
        " padded ",
        "a,b=c",
        'quo"ted',
        "it's",
        "back\\slash",
        "ends in a backslash\\",
        "line\nbreak",
        "招聘",
        "🦀 jobs",
        "e\u0301 and \u00e9",
        "\u202eright to left",
        "null",
        "#datatype,string",
        "0",
        "%s {} ${site} $site :site ?",
        "'; DROP TABLE pages; --",
        "' OR '1'='1",
        '" or true or "',
        '") |> drop(columns: ["site"]) //',
        '"\nfrom(bucket: "fleet") |> range(start: 0)',
        "r.site",
        "${1 + 1}",
        "x" * 300,
    )
)

_POOLS = {
    "session_id": ("s1", "s2", 'it\'s "s3", really'),
    "site": ("", *HOSTILE),
    "status_class": ("2xx", "4xx", "none", ""),
    "type": ("403", "timeout", "captcha"),
    "host": ("web-1", "host, with = signs"),
    "service": ("InfluxDB", "sql", 'site: "indeed"'),
    "proxy": ("p1", "p 2"),
    "process": ("influxd", "python3.12", "a, b = (c)"),
    "collector": ("0", "17"),
    "labels": ("", "a=1,b=x y"),
}


def _value(field: Field, chance: random.Random) -> Value:
    if field.fold is Fold.STATE or field.name == "state_max":
        return chance.randrange(3)
    if field.type is int:
        # Above 2**53 a float would no longer tell neighbours apart.
        return chance.choice((0, 1, chance.randrange(1000), 2**53 + 1))
    return round(chance.uniform(0, 5000), 6)


def _points(measurement: Measurement, tier: Tier, chance: random.Random) -> Iterator[Point]:
    fields = fields_in(measurement, tier)
    names = measurement.tag_names(tier)
    window = KEEPING[tier].window
    for _ in range(6 * len(HOSTILE) if "site" in names else 60):
        if window:
            time = BASE + chance.randrange(40) * window
        else:
            time = BASE + chance.randrange(7200) * SECOND + chance.choice((0, 1, 20_000_123, 999_999_999))
        tags = {name: chance.choice(_POOLS.get(name, ("one", "other"))) for name in names}
        named = chance.sample(fields, chance.randint(1, len(fields)))
        yield Point(measurement.name, tags, {field.name: _value(field, chance) for field in named}, time)


def common_points() -> list[tuple[Tier, Point]]:
    """Some thousand points: every measurement in every tier that holds it, some of the same series and time."""
    chance = random.Random(7)
    return [
        (tier, point)
        for tier in Tier
        for measurement in MEASUREMENTS.values()
        if fields_in(measurement, tier)
        for point in _points(measurement, tier, chance)
    ]
