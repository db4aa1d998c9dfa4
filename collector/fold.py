"""Folding: the events of a flush become points and record changes. Pure: no clock, no store, no chance.

What it returns is persisted before anything is written, so that a replay sends the same bytes whatever this code has become since.
How each kind of field folds is the registry's business (:class:`scrapewatch.measurements.Fold`); what an event contributes is here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from scrapewatch import histogram
from scrapewatch.line_protocol import Point, encode, tag_value
from scrapewatch.measurements import (
    BREAKER_STATES,
    ERROR_TYPES,
    KEEPING,
    LIVE_AGE,
    MEASUREMENTS,
    Fold,
    Tier,
    retention,
)
from scrapewatch.ports import Batch, RecordChanges, RowChange
from scrapewatch.time import HOUR, MINUTE, SECOND, window_start

Event = Mapping[str, Any]
"""An event as :func:`scrapewatch.events.validate` makes it, its ``time`` set."""

FLUSH_SPACE: Final = 10**7
"""Flush numbers that a second tells apart: nanoseconds 0–999,999,999 are ``collector_no × 10⁷ + flush_no mod 10⁷``."""

HISTORY_COLLECTOR: Final = 99
"""Stands in the stamps of history sent under a key, whichever collector took it; never leased."""

_MOST_SITES_FOR_RESOURCES = 50

# By name, since every field of every event is looked up; tag values come again and again.
_FOLDS: Final = {
    name: {field.name: field.fold for field in measurement.fields}
    for name, measurement in MEASUREMENTS.items()
}
_tag_value = lru_cache(maxsize=10_000)(tag_value)


@dataclass(frozen=True, slots=True)
class Request:
    """The events of one request, as the spool keeps them.

    ``source`` is the key of history sent with one: its points have stamps of their own, the same whenever it is sent again.
    ``received_at`` is in ns.
    """

    tenant: str
    source: str | None
    received_at: int
    events: Sequence[Event]


Memory = dict[tuple[str, str], dict[str, list[Any]]]
"""What a fold must know of earlier ones: (tenant, session) → site → [current attempt, breaker's state or None, its time]."""


@dataclass(frozen=True, slots=True)
class Folded:
    """The outcome of a fold; ``memory`` holds the entries that changed."""

    batches: list[Batch]
    changes: list[RecordChanges]
    memory: Memory
    events: int


@dataclass(slots=True)
class _Cell:
    """One point in the making: sums and maxima, and how many events have it as their home."""

    fields: dict[str, float] = field(default_factory=dict)
    latest: dict[str, tuple[int, float]] = field(default_factory=dict)
    events: int = 0
    latest_events: int = 0


def fold(
    requests: Sequence[Request],
    memory: Memory,
    *,
    collector_no: int,
    number: int,
    retention_days: int | None = None,
) -> Folded:
    """Fold ``requests`` into flush ``number`` of collector ``collector_no``.

    ``memory`` has the entries of the sessions in ``requests``; it is not changed. Events of a flush with the same series and second
    become one point at the second plus a stamp that no other flush or collector has. ``retention_days`` is METRICS_RETENTION_DAYS:
    history goes to no tier that would drop it.
    """
    changed: Memory = {}
    groups: dict[tuple[str, str | None], _Group] = {}
    for request in requests:
        key = (request.tenant, request.source)
        group = groups.get(key)
        if group is None:
            # History is folded as if it were alone, so that it comes out the same whatever else is in the flush.
            known = memory if request.source is None else {}
            stamp = (
                _flush_stamp(collector_no, number)
                if request.source is None
                else _source_stamp(request.tenant, request.source)
            )
            group = groups[key] = _Group(request.tenant, request.source, known, stamp, retention_days)
        for event in request.events:
            group.take(event, request.received_at)
    lines: dict[tuple[str, Tier], tuple[list[str], list[int]]] = {}
    for group in groups.values():
        for tier, line, events in group.lines():
            into = lines.setdefault((group.tenant, tier), ([], []))
            into[0].append(line)
            into[1].append(events)
        if group.source is None:
            changed.update(group.remembered)
    return Folded(
        batches=[Batch(tenant, tier, into[0], into[1]) for (tenant, tier), into in sorted(lines.items())],
        changes=[group.record_changes() for group in groups.values()],
        memory=changed,
        events=sum(len(request.events) for request in requests),
    )


def _flush_stamp(collector_no: int, number: int) -> Callable[[int, int], int]:
    offset = collector_no * FLUSH_SPACE + number % FLUSH_SPACE
    return lambda time, window: window_start(time, window or SECOND) + offset


def _source_stamp(tenant: str, source: str) -> Callable[[int, int], int]:
    digest = int.from_bytes(hashlib.sha256(f"{tenant}\0{source}".encode()).digest()[:8], "big")

    def stamp(time: int, window: int) -> int:
        if window == 0:
            return window_start(time, SECOND) + HISTORY_COLLECTOR * FLUSH_SPACE + digest % FLUSH_SPACE
        # A window has far more room than a second: two sources can as good as never meet. Its start belongs to the roller.
        return window_start(time, window) + 1 + digest % (window - 1)

    return stamp


def tiers_of(age: int, retention_days: int | None = None) -> tuple[Tier, ...]:
    """Where an event of ``age`` (ns, when it came) goes: live to the fine tiers, history to those that still keep its age."""
    if age <= LIVE_AGE:
        return (Tier.FLEET, Tier.SESSIONS)
    return tuple(
        tier
        for tier in (Tier.FLEET_1M, Tier.FLEET_1H, Tier.SESSIONS)
        if age < retention(tier, retention_days)
    )


class _Group:
    """The events of one tenant and source in a flush."""

    def __init__(
        self,
        tenant: str,
        source: str | None,
        memory: Memory,
        stamp: Callable[[int, int], int],
        retention_days: int | None,
    ) -> None:
        self.tenant = tenant
        self.source = source
        self.remembered: Memory = {}
        self._memory = memory
        self._stamp = stamp
        self._retention_days = retention_days
        self._cells: dict[tuple[Tier, str, tuple[tuple[str, str], ...], int], _Cell] = {}
        self._rows: dict[tuple[str, tuple[Any, ...]], RowChange] = {}
        self._windows: dict[Tier, set[int]] = {}

    def take(self, event: Event, received_at: int) -> None:
        """Add what ``event`` contributes."""
        time: int = event["time"]
        _Contribution(self, event, time, tiers_of(received_at - time, self._retention_days)).make()

    def remember(self, session_id: str) -> dict[str, list[Any]]:
        """What is known of the sites of a session; may be changed."""
        key = (self.tenant, session_id)
        found = self.remembered.get(key)
        if found is None:
            found = {site: list(known) for site, known in self._memory.get(key, {}).items()}
            self.remembered[key] = found
        return found

    def cell(self, tier: Tier, measurement: str, tags: tuple[tuple[str, str], ...], time: int) -> _Cell:
        """The point in the making of a series at ``time``."""
        key = (tier, measurement, tags, time)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        return cell

    def stamp(self, time: int, tier: Tier) -> int:
        """The time of a summed point of ``tier`` that stands for events at ``time``."""
        return self._stamp(time, KEEPING[tier].window)

    def dirty(self, time: int) -> None:
        """Note that the rollups' windows around ``time`` must be computed again."""
        self._windows.setdefault(Tier.FLEET_1M, set()).add(window_start(time, MINUTE))
        self._windows.setdefault(Tier.FLEET_1H, set()).add(window_start(time, HOUR))

    def row(self, table: str, **key: Any) -> RowChange:
        """The change of a row; its mappings may be added to."""
        at = (table, tuple(key.values()))
        found = self._rows.get(at)
        if found is None:
            found = RowChange(table, key, {}, {}, {}, {}, {}, {}, [])
            self._rows[at] = found
        return found

    def lines(self) -> Iterable[tuple[Tier, str, int]]:
        """Each point as a line, with its tier and the number of events it is the home of."""
        for (tier, measurement, tags, time), cell in self._cells.items():
            named = dict(tags)
            known = MEASUREMENTS[measurement]
            if cell.fields:
                typed = {
                    name: value if known.field(name).type is int else float(value)
                    for name, value in cell.fields.items()
                }
                yield tier, encode(Point(measurement, named, typed, time)), cell.events
            # Gauges and states keep the time of their own event: one point for each time that is some field's latest.
            by_time: dict[int, dict[str, int | float]] = {}
            for name, (at, value) in cell.latest.items():
                by_time.setdefault(at, {})[name] = value if known.field(name).type is int else float(value)
            events = cell.latest_events
            for at, gauges in sorted(by_time.items()):
                yield tier, encode(Point(measurement, named, gauges, at)), events
                events = 0

    def record_changes(self) -> RecordChanges:
        """The changes of this group's rows."""
        windows = {tier: sorted(starts) for tier, starts in self._windows.items()}
        return RecordChanges(self.tenant, self.source, list(self._rows.values()), windows)


class _Contribution:
    """What one event adds to points and rows: one method for each type of event."""

    def __init__(self, group: _Group, event: Event, time: int, tiers: tuple[Tier, ...]) -> None:
        self.group = group
        self.time = time
        self.tiers = tiers
        self.session_id: str | None = event["session_id"]
        self.metric: str = event["metric"]
        self.value: dict[str, Any] = event["value"]
        self.homeless = True
        self._found_row: RowChange | None = None

    def make(self) -> None:
        """Add it all."""
        if Tier.FLEET in self.tiers:
            self.group.dirty(self.time)
        if self.session_id is not None and self.metric not in ("host", "service_check"):
            self._session()
        getattr(self, f"_{self.metric}")()

    # --- points

    def _tags(self, tier: Tier, tags: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        named = tuple([(name, _tag_value(str(value))) for name, value in tags.items() if value is not None])
        return (("session_id", _tag_value(self.session_id or "")), *named) if tier is Tier.SESSIONS else named

    def _point(self, measurement: str, tags: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Add ``fields`` (those that are not None) to the points of ``measurement`` in each of its tiers."""
        given = {name: value for name, value in fields.items() if value is not None}
        if not given:
            return
        known, folds = MEASUREMENTS[measurement], _FOLDS[measurement]
        for tier in self.tiers:
            rollup = tier in (Tier.FLEET_1M, Tier.FLEET_1H)
            if (Tier.FLEET if rollup else tier) not in known.tiers:
                continue
            tagged = self._tags(tier, tags)
            at = self.group.stamp(self.time, tier)
            cell = self.group.cell(tier, measurement, tagged, at)
            summed = gauged = False
            for name, value in given.items():
                how = folds[name]
                if how is Fold.SUM:
                    cell.fields[name] = cell.fields.get(name, 0) + value
                    summed = True
                elif how is Fold.MAX:
                    cell.fields[name] = max(cell.fields.get(name, value), value)
                    summed = True
                elif not rollup:
                    # History's gauges are not rolled up: a mean needs all the samples of its window.
                    before = cell.latest.get(name)
                    if before is None or self.time >= before[0]:
                        cell.latest[name] = (self.time, value)
                    gauged = True
            if self.homeless and (summed or gauged):
                self.homeless = False
                if summed:
                    cell.events += 1
                else:
                    cell.latest_events += 1

    # --- rows

    @property
    def _session_row(self) -> RowChange:
        if self._found_row is None:
            self._found_row = self.group.row("scrape_sessions", session_id=self.session_id)
        return self._found_row

    def _session(self) -> None:
        row = self._session_row
        _add(row, events=1)
        _most(row, last_event_at=self.time)
        if self.metric == "session_queued":
            _least(row, queued_at=self.time)
            return
        _least(row, started_at=self.time)
        if not self.metric.startswith("session_"):
            self._state(-1, "running", None)

    def _state(self, rank: int, status: str, reason: str | None) -> None:
        states: list[Sequence[Any]] = self._session_row.states  # type: ignore[assignment]
        if rank < 0:
            for k, known in enumerate(states):
                if known[1] == rank:
                    if self.time < known[0]:
                        states[k] = [self.time, rank, status, reason]
                    return
        states.append([self.time, rank, status, reason])

    def _execution(self) -> RowChange:
        site = self.value["site"]
        known = self.group.remember(self.session_id or "").setdefault(site, [1, None, 0])
        attempt = self.value.get("attempt") or known[0]
        row = self.group.row(
            "site_executions", session_id=self.session_id, site_name=site, attempt_number=attempt
        )
        _least(row, started_at=self.time)
        _unite(self._session_row, "sites", [site])
        return row

    def _latest(self, row: RowChange, **columns: Any) -> None:
        latest: dict[str, Any] = row.latest  # type: ignore[assignment]
        for name, value in columns.items():
            if value is not None and (name not in latest or self.time >= latest[name][0]):
                latest[name] = [self.time, value]

    # --- one for each type of event

    def _opening(self) -> None:
        value = self.value
        self._latest(
            self._session_row,
            source=value.get("source"),
            search_term=value.get("search_term"),
            location=value.get("location"),
            max_jobs_per_site=value.get("max_jobs_per_site"),
            max_concurrency=value.get("max_concurrency"),
            schedule=value.get("schedule"),
        )
        _unite(self._session_row, "sites", value.get("sites", []))

    def _change_state(self, state: str) -> None:
        self._point("session_states", {"state": state, "source": self.value.get("source")}, {"count": 1})

    def _session_queued(self) -> None:
        self._opening()
        self._state(0, "queued", None)
        self._change_state("queued")

    def _session_started(self) -> None:
        self._opening()
        self._state(1, "running", None)
        self._change_state("running")

    def _session_paused(self) -> None:
        self._state(2, "paused", self.value.get("reason"))
        self._change_state("paused")

    def _session_resumed(self) -> None:
        self._state(3, "running", self.value.get("reason"))
        self._change_state("running")

    def _session_finished(self) -> None:
        value = self.value
        self._state(4, value["status"], value.get("reason"))
        self._change_state(value["status"])
        _most(
            self._session_row,
            jobs_reported=value.get("jobs"),
            pages_reported=value.get("pages"),
            errors_reported=value.get("errors"),
            duration_reported=value.get("duration"),
        )

    def _site_started(self) -> None:
        value = self.value
        known = self.group.remember(self.session_id or "").setdefault(value["site"], [1, None, 0])
        known[0] = max(known[0], value["attempt"])
        self._execution()
        self._point("site_runs", {"site": value["site"]}, {"started": 1})

    def _site_finished(self) -> None:
        value = self.value
        row = self._execution()
        _most(
            row,
            completed_at=self.time,
            jobs_reported=value.get("jobs"),
            pages_reported=value.get("pages"),
            errors_reported=value.get("errors"),
        )
        if "duration" in value:
            _least(row, started_at=self.time - round(value["duration"] * SECOND))
        self._latest(row, success=value["success"], error_message=value.get("error_message"))
        self._point(
            "site_runs",
            {"site": value["site"]},
            {
                "succeeded" if value["success"] else "failed": 1,
                "duration_sum": value.get("duration"),
                "duration_max": value.get("duration"),
            },
        )

    def _job_scraped(self) -> None:
        value = self.value
        count = value["count"]
        lost = {name: value.get(name) for name in ("duplicate", "dropped", "invalid")}
        saved = value.get("saved")
        if saved is None:
            saved = max(count - sum(n or 0 for n in lost.values()), 0)
        self._point("jobs", {"site": value["site"]}, {"scraped": count, "saved": saved, **lost})
        _add(self._execution(), jobs_scraped=count)
        _add(
            self._session_row,
            jobs_seen=count,
            total_jobs_saved=saved,
            duplicates_skipped=lost["duplicate"],
            jobs_dropped=lost["dropped"],
            jobs_invalid=lost["invalid"],
        )
        if "job" in value:
            self._posting(value["site"], value["job"])

    def _posting(self, site: str, job: Mapping[str, Any]) -> None:
        row = self.group.row("job_postings", fingerprint=_posting_fingerprint(site, job))
        _add(row, times_seen=1)
        _least(row, first_seen=self.time)
        _most(row, last_seen=self.time)
        self._latest(
            row,
            site_name=site,
            session_id=self.session_id,
            salary_text=job.get("salary"),
            **{name: value for name, value in job.items() if name != "salary"},
        )

    def _page_processed(self) -> None:
        value = self.value
        count: int = value["count"]
        status: int | None = value.get("status")
        blocked = count if value["blocked"] else 0
        ok = 0 if blocked or (status is not None and status >= 400) else count
        duration: float | None = value.get("duration")
        timed: dict[str, Any] = {}
        if duration is not None:
            each = duration / count
            timed = {
                "duration_sum": duration,
                "duration_count": count,
                "duration_max": each,
                histogram.FIELDS[histogram.bucket_of(each)]: count,
            }
        self._point(
            "pages",
            {"site": value["site"], "status_class": _status_class(status)},
            {"count": count, "ok": ok, "blocked": blocked, "bytes": value.get("bytes"), **timed},
        )
        row = self._execution()
        _add(row, pages_processed=count, pages_ok=ok, pages_blocked=blocked)
        if duration is not None:
            _add(row, page_load_sum=duration, page_load_count=count)
        _add(self._session_row, pages_processed=count, pages_ok=ok, pages_blocked=blocked)

    def _error_occurred(self) -> None:
        value = self.value
        count: int = value["count"]
        self._point("errors", {"site": value["site"], "type": error_tag(value["type"])}, {"count": count})
        _add(self._execution(), errors_count=count)
        _add(self._session_row, errors_seen=count)
        message = value.get("message", "")
        row = self.group.row(
            "error_groups",
            session_id=self.session_id,
            site_name=value["site"],
            fingerprint=error_fingerprint(value["type"], message),
        )
        _add(row, count=count)
        _least(row, first_seen=self.time)
        _most(row, last_seen=self.time)
        once: dict[str, Any] = row.once  # type: ignore[assignment]
        once.setdefault("type", value["type"])
        once.setdefault("message", message[:1_000])
        if "url" in value:
            once.setdefault("url", value["url"][:1_000])

    def _circuit_breaker(self) -> None:
        value = self.value
        row = self._execution()
        known = self.group.remember(self.session_id or "")[value["site"]]
        state = BREAKER_STATES[value["state"]]
        before, since = known[1], known[2]
        # A breaker nobody has heard of was closed; a report that comes late changes nothing that was counted.
        moved = self.time >= since and state != (before if before is not None else BREAKER_STATES["closed"])
        if self.time >= since:
            known[1], known[2] = state, self.time
        self._point(
            "breakers",
            {"site": value["site"]},
            {
                "state": state,
                "failures": value.get("failures"),
                "successes": value.get("successes"),
                "transitions": 1 if moved else None,
                "opened": 1 if moved and state == BREAKER_STATES["open"] else None,
            },
        )
        self._latest(
            row, circuit_breaker_state=value["state"], circuit_breaker_failures=value.get("failures")
        )

    def _queue(self) -> None:
        value = self.value
        self._point(
            "queue",
            {"site": value.get("site")},
            {name: value.get(name) for name in ("depth", "pending", "active_scrapers")},
        )

    def _resources(self) -> None:
        value = self.value
        self._point(
            "resources", {}, {"memory_mb": value.get("memory_mb"), "cpu_percent": value.get("cpu_percent")}
        )
        sites = self.group.remember(self.session_id or "")
        if len(sites) <= _MOST_SITES_FOR_RESOURCES:
            for site, known in sites.items():
                _most(
                    self.group.row(
                        "site_executions", session_id=self.session_id, site_name=site, attempt_number=known[0]
                    ),
                    memory_usage_mb=value.get("memory_mb"),
                    cpu_usage_percent=value.get("cpu_percent"),
                )

    def _proxy(self) -> None:
        value = self.value
        latency: float | None = value.get("latency")
        self._point(
            "proxies",
            {"provider": value["provider"], "proxy": value.get("proxy")},
            {
                "requests": value["requests"],
                "failures": value["failures"],
                "bans": value["bans"],
                "bytes": value.get("bytes"),
                "cost": value.get("cost"),
                "latency_sum": None if latency is None else latency * value["requests"],
                "latency_count": None if latency is None else value["requests"],
                "latency_max": latency,
            },
        )

    def _data_quality(self) -> None:
        value = self.value
        self._point(
            "data_quality",
            {"site": value["site"]},
            {"items": value["items"], "valid": value.get("valid"), "duplicates": value.get("duplicates")},
        )
        for name, share in value.get("field_coverage", {}).items():
            self._point(
                "field_coverage",
                {"site": value["site"], "field": name},
                {"items": value["items"], "covered": share * value["items"]},
            )

    def _cost(self) -> None:
        value = self.value
        self._point(
            "costs",
            {"site": value.get("site"), "kind": value["kind"], "currency": value["currency"]},
            {"amount": value["amount"]},
        )

    def _progress(self) -> None:
        value = self.value
        self._point(
            "progress", {"site": value.get("site")}, {"done": value["done"], "total": value.get("total")}
        )

    def _custom(self) -> None:
        value = self.value
        labels = ",".join(f"{name}={value}" for name, value in sorted(value.get("labels", {}).items()))
        figure = value["value"]
        self._point(
            "custom",
            {"name": value["name"], "unit": value.get("unit"), "labels": labels},
            {"value": figure, "value_sum": figure, "value_count": 1, "value_max": figure},
        )

    def _host(self) -> None:
        value = self.value
        host = {"host": value["host"]}
        known = {field.name for field in MEASUREMENTS["host"].fields}
        self._point("host", host, {name: found for name, found in value.items() if name in known})
        for number, percent in enumerate(value.get("cores", [])):
            self._point("host_cores", {**host, "core": number}, {"cpu_percent": percent})
        for disk in value.get("disks", []):
            figures = {name: disk[name] for name in ("total", "used", "percent")}
            self._point("host_disks", {**host, "mount": disk["mount"]}, figures)
        for interface in value.get("interfaces", []):
            figures = {name: interface[name] for name in ("sent_bytes", "received_bytes")}
            self._point("host_network", {**host, "interface": interface["name"]}, figures)

    def _service_check(self) -> None:
        value = self.value
        self._point(
            "service_checks",
            {"service": value["service"]},
            {
                "checks": 1,
                "up": int(value["up"]),
                "response_time_sum": value["response_time"],
                "response_time_max": value["response_time"],
            },
        )


def _add(row: RowChange, **columns: float | None) -> None:
    add: dict[str, float] = row.add  # type: ignore[assignment]
    for name, value in columns.items():
        if value is not None:
            add[name] = add.get(name, 0) + value


def _least(row: RowChange, **columns: int | None) -> None:
    least: dict[str, int] = row.least  # type: ignore[assignment]
    for name, value in columns.items():
        if value is not None:
            least[name] = min(least.get(name, value), value)


def _most(row: RowChange, **columns: float | None) -> None:
    most: dict[str, float] = row.most  # type: ignore[assignment]
    for name, value in columns.items():
        if value is not None:
            most[name] = max(most.get(name, value), value)


def _unite(row: RowChange, column: str, names: Iterable[str]) -> None:
    union: dict[str, Any] = row.union  # type: ignore[assignment]
    known = union.setdefault(column, [])
    known.extend(name for name in names if name not in known)


def _status_class(status: int | None) -> str:
    if status is None or not 200 <= status <= 599:
        return "none"
    return f"{status // 100}xx"


def error_tag(kind: str) -> str:
    """The tag of an error's type: a known one or an HTTP status, or else ``other``, so that its values stay few."""
    kind = kind.lower()
    if kind in ERROR_TYPES or (len(kind) == 3 and kind.isascii() and kind.isdigit()):
        return kind
    return "other"


_ADDRESS = re.compile(r"https?://\S+")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")


def error_fingerprint(kind: str, message: str) -> str:
    """What errors of one cause have in common: the type and the message without addresses and numbers."""
    shape = _NUMBER.sub("#", _ADDRESS.sub("<url>", message[:2_000]))
    return hashlib.sha256(f"{kind.lower()}\0{shape}".encode()).hexdigest()[:32]


def _posting_fingerprint(site: str, job: Mapping[str, Any]) -> str:
    if job.get("url"):
        parts = [site, job["url"]]
    else:
        parts = [site, *(str(job.get(name, "")).strip().lower() for name in ("title", "company", "location"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
