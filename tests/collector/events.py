"""Events to fold, and what they sum to, said again in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from collector.decode import from_model
from collector.fold import Folded, Request
from scrapewatch.events import validate
from scrapewatch.line_protocol import Point, decode, tag_value
from scrapewatch.measurements import Tier
from scrapewatch.time import DAY, SECOND

NOW = 1_800_000_000 * SECOND
HOSTILE = ("indeed", "a b", "x,y=z", 'quo"te', "back\\slash", "ünï ☃", "|> drop()", "'; DROP TABLE jobs; --")

sites = st.sampled_from(HOSTILE)
sessions = st.sampled_from(("s1", "s 2", "s,3"))
# Live, and late by up to six days.
times = st.one_of(
    st.integers(NOW - 5 * SECOND, NOW),
    st.integers(NOW - 6 * DAY, NOW),
)


def event(metric: str, value: Mapping[str, Any], *, time: int = NOW, session: str = "s1") -> dict[str, Any]:
    """A valid event at ``time`` (ns)."""
    found = validate({"session_id": session, "metric": metric, "value": dict(value)})
    found["time"] = time
    return found


def _jobs() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"site": sites, "count": st.integers(0, 1_000)},
        optional={name: st.integers(0, 50) for name in ("saved", "duplicate", "dropped", "invalid")},
    )


def _pages() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"site": sites},
        optional={
            "status": st.sampled_from((200, 301, 403, 404, 429, 500, 999, 0)),
            "duration": st.integers(0, 4_000_000).map(lambda us: us / 1_000_000),
            "bytes": st.integers(0, 10**7),
            "blocked": st.booleans(),
            "count": st.integers(1, 20),
        },
    )


def _errors() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"site": sites, "type": st.sampled_from(("403", "timeout", "Strange", "captcha"))},
        optional={
            "message": st.text(max_size=20).filter(lambda text: "\0" not in text),
            "count": st.integers(1, 9),
        },
    )


counted = st.one_of(
    st.tuples(st.just("job_scraped"), _jobs()),
    st.tuples(st.just("page_processed"), _pages()),
    st.tuples(st.just("error_occurred"), _errors()),
).flatmap(
    lambda kind: st.builds(
        lambda time, session: event(kind[0], kind[1], time=time, session=session), times, sessions
    )
)
"""Events that count something."""


def split(events: Sequence[dict[str, Any]], cuts: Iterable[int]) -> list[list[dict[str, Any]]]:
    """``events`` cut into runs at ``cuts``."""
    places = sorted({min(cut, len(events)) for cut in cuts} | {0, len(events)})
    return [list(events[a:b]) for a, b in pairwise(places)]


def request(
    events: Sequence[dict[str, Any]], *, source: str | None = None, tenant: str = "default", at: int = NOW
) -> Request:
    """A request that brought ``events``."""
    return Request(
        tenant, source, at, [event["time"] for event in events], [from_model(event) for event in events]
    )


def points(folded: Folded, tier: Tier) -> list[Point]:
    """The points that a fold sends to ``tier``."""
    return [decode(line) for batch in folded.batches if batch.tier is tier for line in batch.lines]


def sums(found: Iterable[Point]) -> Counter[tuple[str, str, str]]:
    """Sums of the integer fields by measurement, site and field."""
    total: Counter[tuple[str, str, str]] = Counter()
    for point in found:
        for name, value in point.fields.items():
            if isinstance(value, int):
                total[(point.measurement, point.tags.get("site", ""), name)] += value
    return +total


def expected(events: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str, str]]:
    """The same sums, from the events themselves."""
    total: Counter[tuple[str, str, str]] = Counter()
    for found in events:
        value = found["value"]
        site = tag_value(value["site"])
        if found["metric"] == "job_scraped":
            lost = [value.get(name, 0) for name in ("duplicate", "dropped", "invalid")]
            total[("jobs", site, "scraped")] += value["count"]
            total[("jobs", site, "saved")] += value.get("saved", max(value["count"] - sum(lost), 0))
            for name, n in zip(("duplicate", "dropped", "invalid"), lost, strict=True):
                total[("jobs", site, name)] += n
        elif found["metric"] == "page_processed":
            n = value["count"]
            good = not value["blocked"] and value.get("status", 200) < 400
            total[("pages", site, "count")] += n
            total[("pages", site, "ok")] += n if good else 0
            total[("pages", site, "blocked")] += n if value["blocked"] else 0
            total[("pages", site, "bytes")] += value.get("bytes", 0)
            if "duration" in value:
                total[("pages", site, "duration_count")] += n
        else:
            total[("errors", site, "count")] += value["count"]
    return +total
