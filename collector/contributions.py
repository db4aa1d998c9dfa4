"""What an event contributes to points and rows: one method for each type of event.

Pages, jobs and errors come by the hundred thousand. They are counted first (:mod:`collector.tallies`), by session, site and second, in
one look-up and a few additions each; what such a tally contributes is worked out once, when the flush is finished. All other events
contribute as they come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from collector.decode import METRIC_OF, STRUCTS, Event, time_of
from collector.fingerprints import error_fingerprint, error_tag, posting_fingerprint
from collector.tallies import Attempt, Errors, Jobs, Pages, Tally, taken
from scrapewatch import histogram
from scrapewatch.line_protocol import encoder, tag_value
from scrapewatch.measurements import BREAKER_STATES, KEEPING, MEASUREMENTS, Fold, Tier, fields_in
from scrapewatch.ports import RowChange
from scrapewatch.time import SECOND

if TYPE_CHECKING:
    from collector.fold import Group

_MOST_SITES_FOR_RESOURCES = 50

# By name, since every field of every event is looked up; tag values come again and again.
_FOLDS: Final = {
    name: {field.name: field.fold for field in measurement.fields}
    for name, measurement in MEASUREMENTS.items()
}
_tag_value = lru_cache(maxsize=10_000)(tag_value)

_STATUS_CLASS: Final = {status: f"{status // 100}xx" for status in range(200, 600)}
"""Any other status, and none, is of the class ``none``."""


Stamp = Callable[[int, int], int]
"""Start and length of a window (ns; 0: the second it starts with) → the time of the point that stands for it."""

Lines = dict[tuple[str, Tier], tuple[list[str], list[int]]]
"""(tenant, tier) → lines, and the number of events that each is the home of."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A session's process, as the session said when it started at ``time`` (ns), or with no ``pid`` that the session finished."""

    tenant: str
    session_id: str
    pid: int | None = None
    host: str = ""
    time: int = 0


@dataclass(slots=True)
class _Cell:
    """One point in the making: sums and maxima, and how many events have it as their home."""

    fields: dict[str, float] = field(default_factory=dict)
    latest: dict[str, tuple[int, float]] = field(default_factory=dict)
    events: int = 0
    latest_events: int = 0


class _Place:
    """Where points of one tier are made.

    ``named`` is the tier by whose name the registry knows it, ``window`` the length of its windows (ns), ``rollup`` whether it is one of
    the rollups. ``points`` are of what is tallied: measurement → (what the line begins with, start of the window) → tally.
    """

    __slots__ = ("cells", "encoders", "named", "points", "rollup", "tier", "window")

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.rollup = tier in (Tier.FLEET_1M, Tier.FLEET_1H)
        self.named = Tier.FLEET if self.rollup else tier
        self.window = KEEPING[tier].window or SECOND
        self.encoders = _ENCODERS[tier]
        self.cells: dict[tuple[Any, ...], _Cell] = {}
        self.points: dict[str, dict[tuple[str, int], Any]] = {"pages": {}, "jobs": {}, "errors": {}}


class Share:
    """Those events of a group that go to the same tiers."""

    def __init__(self, group: Group, tiers: tuple[Tier, ...]) -> None:
        self._group = group
        self._live = Tier.FLEET in tiers
        self._places = [_Place(tier) for tier in tiers]
        self._pages: dict[tuple[Any, ...], Pages] = {}
        self._jobs: dict[tuple[Any, ...], Jobs] = {}
        self._errors: dict[tuple[Any, ...], Errors] = {}

    # --- taking

    def take(self, times: Sequence[int], events: Sequence[Event]) -> None:
        """Add what ``events`` contribute."""
        if self._live:
            self._group.dirty(times)
        # Most are pages and jobs: a call for each would cost a fifth of what they do.
        all_pages, all_jobs, class_of = self._pages, self._jobs, _STATUS_CLASS.get
        for time, event in zip(times, events, strict=True):
            kind = type(event)
            if kind is _PAGE:
                value = event.value
                status = value.status
                key = (event.session_id, value.site, class_of(status), value.attempt, time // SECOND)
                pages = all_pages.get(key)
                if pages is None:
                    pages = all_pages[key] = Pages(time)
                    self._group.site(event.session_id, value.site)
                elif time > pages.last:
                    pages.last = time
                elif time < pages.first:
                    pages.first = time
                count = value.count
                pages.events += 1
                pages.pages += count
                if value.blocked:
                    pages.blocked += count
                elif status is None or status < 400:
                    pages.ok += count
                if (size := value.bytes) is not None:
                    pages.bytes = size if pages.bytes is None else pages.bytes + size
                duration = value.duration
                if duration is not None:
                    pages.time += duration
                    pages.timed += count
                    if count != 1:
                        duration /= count
                    if duration > pages.slowest:
                        pages.slowest = duration
                    bucket = bisect_left(_EDGES, duration)
                    buckets = pages.histogram
                    buckets[bucket] = buckets.get(bucket, 0) + count
            elif kind is _JOB:
                value = event.value
                of = (event.session_id, value.site, value.attempt, time // SECOND)
                jobs = all_jobs.get(of)
                if jobs is None:
                    jobs = all_jobs[of] = Jobs(time)
                    self._group.site(event.session_id, value.site)
                elif time > jobs.last:
                    jobs.last = time
                elif time < jobs.first:
                    jobs.first = time
                count = value.count
                jobs.events += 1
                jobs.scraped += count
                lost = 0
                if (number := value.duplicate) is not None:
                    lost += number
                    jobs.duplicate = (jobs.duplicate or 0) + number
                if (number := value.dropped) is not None:
                    lost += number
                    jobs.dropped = (jobs.dropped or 0) + number
                if (number := value.invalid) is not None:
                    lost += number
                    jobs.invalid = (jobs.invalid or 0) + number
                saved = value.saved
                jobs.saved += (count - lost if lost < count else 0) if saved is None else saved
                if value.job is not None:
                    self._posting(event, time)
            else:
                _HANDLERS[kind](self, event, time)

    def _error(self, event: Event, time: int) -> None:
        value = event.value
        key = (event.session_id, value.site, value.type, value.message or "", value.attempt, time // SECOND)
        tally = self._errors.get(key)
        if tally is None:
            tally = self._errors[key] = Errors(time)
            self._group.site(event.session_id, value.site)
        elif time > tally.last:
            tally.last = time
        elif time < tally.first:
            tally.first = time
        tally.events += 1
        tally.errors += value.count
        if tally.url is None:
            tally.url = value.url

    # --- working out what was counted

    def settle(self, of: tuple[str, ...]) -> None:
        """Let the tallies contribute that are ``of`` a session and site (empty: all)."""
        attempts: dict[tuple[str, str, int | None], Attempt] = {}
        into = self._into("pages")
        for (session_id, site, status, attempt, second), pages in taken(self._pages, of):
            self._attempt(attempts, session_id, site, attempt, pages).add_pages(pages)
            _add_up(into, session_id, (site, status or "none"), second, pages)
        into = self._into("jobs")
        for (session_id, site, attempt, second), jobs in taken(self._jobs, of):
            self._attempt(attempts, session_id, site, attempt, jobs).add_jobs(jobs)
            _add_up(into, session_id, (site,), second, jobs)
        into = self._into("errors")
        for (session_id, site, kind, message, attempt, second), errors in taken(self._errors, of):
            self._attempt(attempts, session_id, site, attempt, errors).add_errors(errors)
            self._error_group(session_id, site, kind, message, errors)
            _add_up(into, session_id, (site, error_tag(kind)), second, errors)
        for (session_id, site, attempt), found in attempts.items():
            if attempt is not None:
                self._attempted(session_id, site, attempt, found)

    def _attempt(
        self,
        attempts: dict[tuple[str, str, int | None], Attempt],
        session_id: str,
        site: str,
        attempt: int | None,
        tally: Pages | Jobs | Errors,
    ) -> Attempt:
        """The attempt that ``tally`` belongs to, which is found under its number and, where none was told, under None, too."""
        found = attempts.get((session_id, site, attempt))
        if found is None:
            number = attempt or self._group.site(session_id, site)[0]
            found = attempts.get((session_id, site, number)) or Attempt(tally.first)
            attempts[session_id, site, attempt] = attempts[session_id, site, number] = found
        return found

    def _into(self, measurement: str) -> list[_Into]:
        return [
            (
                place.encoders[measurement].head,
                place.named is Tier.SESSIONS,
                place.window,
                place.points[measurement],
                place is self._places[-1],
            )
            for place in self._places
        ]

    def _attempted(self, session_id: str, site: str, number: int, found: Attempt) -> None:
        """Add what ``found`` counted to the rows of its session and site execution."""
        session = self._session(session_id, found.first, found.last, found.events, running=True)
        execution = self._execution(session, session_id, site, number, found.first)
        for add in (session.add, execution.add):
            _count(add, "pages_processed", found.pages)
            _count(add, "pages_ok", found.ok)
            _count(add, "pages_blocked", found.blocked)
        if found.timed:
            _count(execution.add, "page_load_sum", found.time)
            _count(execution.add, "page_load_count", found.timed)
        if found.scraped or found.saved:
            _count(execution.add, "jobs_scraped", found.scraped)
            _count(session.add, "jobs_seen", found.scraped)
            _count(session.add, "total_jobs_saved", found.saved)
        if found.duplicate or found.dropped or found.invalid:
            _count(session.add, "duplicates_skipped", found.duplicate)
            _count(session.add, "jobs_dropped", found.dropped)
            _count(session.add, "jobs_invalid", found.invalid)
        if found.errors:
            _count(session.add, "errors_seen", found.errors)
            _count(execution.add, "errors_count", found.errors)

    def _error_group(self, session_id: str, site: str, kind: str, message: str, tally: Errors) -> None:
        row = self._group.row(
            "error_groups",
            session_id=session_id,
            site_name=site,
            fingerprint=error_fingerprint(kind, message),
        )
        _add(row, count=tally.errors)
        _least(row, first_seen=tally.first)
        _most(row, last_seen=tally.last)
        once: dict[str, Any] = row.once  # type: ignore[assignment]
        once.setdefault("type", kind)
        once.setdefault("message", message[:1_000])
        if tally.url is not None:
            once.setdefault("url", tally.url[:1_000])

    # --- points

    def _add(
        self,
        session_id: str | None,
        measurement: str,
        values: tuple[Any, ...],
        time: int,
        sums: Mapping[str, float],
        most: Mapping[str, float],
        events: int,
    ) -> None:
        """Add ``sums`` and maxima ``most`` to the points of ``measurement`` with the tags ``values`` (in the order of the registry)."""
        stored = _stored(values)
        for place in self._places:
            key = _key(measurement, place.named, time - time % place.window, session_id, stored)
            if key is None:
                continue
            cell = place.cells.get(key)
            if cell is None:
                cell = place.cells[key] = _Cell({**sums, **most}, {}, events, 0)
            else:
                fields = cell.fields
                for name, value in sums.items():
                    fields[name] = fields.get(name, 0) + value
                for name, value in most.items():
                    if name not in fields or value > fields[name]:
                        fields[name] = value
                cell.events += events
            events = 0  # each is at home in one line

    def _point(
        self,
        event: Event,
        time: int,
        measurement: str,
        values: tuple[Any, ...],
        fields: Mapping[str, Any],
        *,
        home: bool = True,
    ) -> bool:
        """Add ``fields`` (those that are not None) to the points of ``measurement``; ``home``: the event is counted there, if anywhere."""
        folds = _FOLDS[measurement]
        sums: dict[str, float] = {}
        most: dict[str, float] = {}
        gauges: dict[str, float] = {}
        for name, value in fields.items():
            if value is not None:
                how = folds[name]
                (sums if how is Fold.SUM else most if how is Fold.MAX else gauges)[name] = value
        events = int(home)
        if sums or most:
            self._add(event.session_id, measurement, values, time, sums, most, events)
            events = 0
        if not gauges:
            return bool(sums or most)
        stored = _stored(values)
        for place in self._places:
            if place.rollup:
                continue  # history's gauges are not rolled up: a mean needs all the samples of its window
            start = time - time % place.window
            key = _key(measurement, place.named, start, event.session_id, stored)
            if key is None:
                continue
            cell = place.cells.get(key)
            if cell is None:
                cell = place.cells[key] = _Cell()
            for name, value in gauges.items():
                before = cell.latest.get(name)
                if before is None or time >= before[0]:
                    cell.latest[name] = (time, value)
            cell.latest_events += events
            events = 0
        return True

    def write(self, tenant: str, stamp: Stamp, lines: Lines) -> None:
        """Add each point as a line."""
        home = True
        for place in self._places:
            texts, homes = lines.setdefault((tenant, place.tier), ([], []))
            window = place.window if place.rollup else 0
            encoders = place.encoders
            for measurement, points in place.points.items():
                encode = encoders[measurement]
                for (head, start), point in points.items():
                    texts.append(point.line(encode, head, stamp(start, window)))
                    homes.append(point.events if home else 0)
            home = False  # each event is at home in one line
            for (measurement, start, *values), cell in place.cells.items():
                encode = encoders[measurement]
                head = encode.head(tuple(values))
                if cell.fields:
                    texts.append(encode.line(head, cell.fields, stamp(start, window)))
                    homes.append(cell.events)
                if cell.latest:
                    # Gauges and states keep the time of their own event: one point for each time that is some field's latest.
                    by_time: dict[int, dict[str, int | float]] = {}
                    for name, (at, value) in cell.latest.items():
                        by_time.setdefault(at, {})[name] = value
                    events = cell.latest_events
                    for at, gauges in sorted(by_time.items()):
                        texts.append(encode.line(head, gauges, at))
                        homes.append(events)
                        events = 0

    # --- rows

    def _session(
        self, session_id: str, first: int, last: int, events: int = 1, *, running: bool
    ) -> RowChange:
        """The row of a session that had ``events`` from ``first`` to ``last``; ``running``: they show that it runs."""
        at = ("scrape_sessions", session_id)
        row = self._group.found_row(at) or self._group.row_at(at, {"session_id": session_id})
        row.add["events"] = row.add.get("events", 0) + events  # type: ignore[index]
        if last > row.most.get("last_event_at", last - 1):
            row.most["last_event_at"] = last  # type: ignore[index]
        if running:
            self._started(row, first)
            states: list[Sequence[Any]] = row.states  # type: ignore[assignment]
            for k, known in enumerate(states):
                if known[1] == -1:
                    if first < known[0]:
                        states[k] = [first, -1, "running", None]
                    break
            else:
                states.append([first, -1, "running", None])
        return row

    @staticmethod
    def _started(row: RowChange, time: int) -> None:
        if time < row.least.get("started_at", time + 1):
            row.least["started_at"] = time  # type: ignore[index]

    def _own(self, event: Event, time: int) -> RowChange:
        """The row of the session of ``event``, which shows that it runs."""
        return self._session(event.session_id, time, time, running=True)

    def _execution(
        self, session: RowChange, session_id: str, site: str, attempt: int | None, time: int
    ) -> RowChange:
        number = attempt or self._group.site(session_id, site)[0]
        at = ("site_executions", session_id, site, number)
        row = self._group.found_row(at)
        if row is None:
            row = self._group.row_at(
                at, {"session_id": session_id, "site_name": site, "attempt_number": number}
            )
            _unite(session, "sites", (site,))
        self._started(row, time)
        return row

    # --- one for each type of event

    def _opening(self, event: Event, time: int, row: RowChange) -> None:
        value = event.value
        _latest(
            row,
            time,
            source=value.source,
            search_term=value.search_term,
            location=value.location,
            max_jobs_per_site=value.max_jobs_per_site,
            max_concurrency=value.max_concurrency,
            schedule=value.schedule,
        )
        _unite(row, "sites", value.sites)

    def _state(
        self,
        event: Event,
        time: int,
        rank: int,
        status: str,
        state: str,
        reason: str | None,
        source: str | None,
    ) -> RowChange:
        """Note that the session's status is ``status`` since ``time``."""
        queued = state == "queued"
        row = self._session(event.session_id, time, time, running=False)
        if queued:
            _least(row, queued_at=time)
        else:
            self._started(row, time)
        row.states.append([time, rank, status, reason])  # type: ignore[attr-defined]
        self._point(event, time, "session_states", (state, source), {"count": 1})
        return row

    def _session_queued(self, event: Event, time: int) -> None:
        row = self._state(event, time, 0, "queued", "queued", None, event.value.source)
        self._opening(event, time, row)

    def _session_started(self, event: Event, time: int) -> None:
        value = event.value
        row = self._state(event, time, 1, "running", "running", None, value.source)
        self._opening(event, time, row)
        if value.pid is not None and value.host is not None:
            group = self._group
            group.announced.append(Announced(group.tenant, event.session_id, value.pid, value.host, time))

    def _session_paused(self, event: Event, time: int) -> None:
        self._state(event, time, 2, "paused", "paused", event.value.reason, None)

    def _session_resumed(self, event: Event, time: int) -> None:
        self._state(event, time, 3, "running", "running", event.value.reason, None)

    def _session_finished(self, event: Event, time: int) -> None:
        value = event.value
        row = self._state(event, time, 4, value.status, value.status, value.reason, None)
        self._group.announced.append(Announced(self._group.tenant, event.session_id))
        _most(
            row,
            jobs_reported=value.jobs,
            pages_reported=value.pages,
            errors_reported=value.errors,
            duration_reported=value.duration,
        )

    def _site_started(self, event: Event, time: int) -> None:
        value = event.value
        site = value.site
        known = self._group.site(event.session_id, site)
        if value.attempt > known[0]:
            # What came before without a number of its own belongs to the attempt before.
            self._group.settle(event.session_id, site)
            known[0] = value.attempt
        self._execution(self._own(event, time), event.session_id, site, value.attempt, time)
        self._point(event, time, "site_runs", (site,), {"started": 1})

    def _site_finished(self, event: Event, time: int) -> None:
        value = event.value
        row = self._execution(self._own(event, time), event.session_id, value.site, value.attempt, time)
        _most(
            row,
            completed_at=time,
            jobs_reported=value.jobs,
            pages_reported=value.pages,
            errors_reported=value.errors,
        )
        if value.duration is not None:
            _least(row, started_at=time - round(value.duration * SECOND))
        _latest(row, time, success=value.success, error_message=value.error_message)
        self._point(
            event,
            time,
            "site_runs",
            (value.site,),
            {
                "succeeded" if value.success else "failed": 1,
                "duration_sum": value.duration,
                "duration_max": value.duration,
            },
        )

    def _posting(self, event: Event, time: int) -> None:
        job = event.value.job
        site = event.value.site
        row = self._group.row("job_postings", fingerprint=posting_fingerprint(site, job))
        _add(row, times_seen=1)
        _least(row, first_seen=time)
        _most(row, last_seen=time)
        found = {name: getattr(job, name) for name in job.__struct_fields__}
        if job.posted_at is not None:
            found["posted_at"] = time_of(job.posted_at)
        _latest(
            row,
            time,
            site_name=site,
            session_id=event.session_id,
            salary_text=found.pop("salary"),
            **{name: value for name, value in found.items() if value != []},
        )

    def _circuit_breaker(self, event: Event, time: int) -> None:
        value = event.value
        row = self._execution(self._own(event, time), event.session_id, value.site, None, time)
        known = self._group.site(event.session_id, value.site)
        state = BREAKER_STATES[value.state]
        before, since = known[1], known[2]
        # A breaker nobody has heard of was closed; a report that comes late changes nothing that was counted.
        moved = time >= since and state != (before if before is not None else BREAKER_STATES["closed"])
        if time >= since:
            known[1], known[2] = state, time
        self._point(
            event,
            time,
            "breakers",
            (value.site,),
            {
                "state": state,
                "failures": value.failures,
                "successes": value.successes,
                "transitions": 1 if moved else None,
                "opened": 1 if moved and state == BREAKER_STATES["open"] else None,
            },
        )
        _latest(row, time, circuit_breaker_state=value.state, circuit_breaker_failures=value.failures)

    def _queue(self, event: Event, time: int) -> None:
        self._own(event, time)
        value = event.value
        self._point(
            event,
            time,
            "queue",
            (value.site,),
            {"depth": value.depth, "pending": value.pending, "active_scrapers": value.active_scrapers},
        )

    def _resources(self, event: Event, time: int) -> None:
        value = event.value
        if not value.sampled:  # by the collector, that is: a scraper that hangs has a process, too
            self._own(event, time)
        self._point(
            event,
            time,
            "resources",
            (),
            {
                "memory_mb": value.memory_mb,
                "cpu_percent": value.cpu_percent,
                "threads": value.threads,
                "open_files": value.open_files,
            },
        )
        sites = self._group.sites(event.session_id)
        if len(sites) <= _MOST_SITES_FOR_RESOURCES:
            for site, known in sites.items():
                _most(
                    self._group.row(
                        "site_executions",
                        session_id=event.session_id,
                        site_name=site,
                        attempt_number=known[0],
                    ),
                    memory_usage_mb=value.memory_mb,
                    cpu_usage_percent=value.cpu_percent,
                )

    def _proxy(self, event: Event, time: int) -> None:
        self._own(event, time)
        value = event.value
        latency = value.latency
        self._point(
            event,
            time,
            "proxies",
            (value.provider, value.proxy),
            {
                "requests": value.requests,
                "failures": value.failures,
                "bans": value.bans,
                "bytes": value.bytes,
                "cost": value.cost,
                "latency_sum": None if latency is None else latency * value.requests,
                "latency_count": None if latency is None else value.requests,
                "latency_max": latency,
            },
        )

    def _data_quality(self, event: Event, time: int) -> None:
        if event.session_id is not None:
            self._own(event, time)
        value = event.value
        self._point(
            event,
            time,
            "data_quality",
            (value.site,),
            {"items": value.items, "valid": value.valid, "duplicates": value.duplicates},
        )
        for name, share in value.field_coverage.items():
            self._point(
                event,
                time,
                "field_coverage",
                (value.site, name),
                {"items": value.items, "covered": share * value.items},
                home=False,
            )

    def _cost(self, event: Event, time: int) -> None:
        self._own(event, time)
        value = event.value
        self._point(event, time, "costs", (value.site, value.kind, value.currency), {"amount": value.amount})

    def _progress(self, event: Event, time: int) -> None:
        self._own(event, time)
        value = event.value
        self._point(event, time, "progress", (value.site,), {"done": value.done, "total": value.total})

    def _custom(self, event: Event, time: int) -> None:
        self._own(event, time)
        value = event.value
        labels = ",".join(f"{name}={found}" for name, found in sorted(value.labels.items()))
        figure = value.value
        self._point(
            event,
            time,
            "custom",
            (value.name, value.unit, labels),
            {"value": figure, "value_sum": figure, "value_count": 1, "value_max": figure},
        )

    def _host(self, event: Event, time: int) -> None:
        value = event.value
        host = value.host
        self._figures(event, time)
        for number, percent in enumerate(value.cores):
            self._point(event, time, "host_cores", (host, str(number)), {"cpu_percent": percent}, home=False)
        for disk in value.disks:
            figures = {"total": disk.total, "used": disk.used, "percent": disk.percent}
            self._point(event, time, "host_disks", (host, disk.mount), figures, home=False)
        for interface in value.interfaces:
            figures = {"sent_bytes": interface.sent_bytes, "received_bytes": interface.received_bytes}
            self._point(event, time, "host_network", (host, interface.name), figures, home=False)
        for each in value.processes:
            figures = {
                "count": each.count,
                "cpu_percent": each.cpu_percent,
                "memory": each.memory,
                "threads": each.threads,
                "open_files": each.open_files,
            }
            self._point(event, time, "host_processes", (host, each.process), figures, home=False)

    def _figures(self, event: Event, time: int) -> None:
        """What is named as its measurement's tags and fields are, such as scrapewatch's reports of itself."""
        value = event.value
        measurement = MEASUREMENTS[METRIC_OF[type(event)]]
        self._point(
            event,
            time,
            measurement.name,
            tuple(getattr(value, tag.name) for tag in measurement.tags),
            {field.name: getattr(value, field.name, None) for field in measurement.fields},
        )

    def _service_check(self, event: Event, time: int) -> None:
        value = event.value
        self._point(
            event,
            time,
            "service_checks",
            (value.service,),
            {
                "checks": 1,
                "up": int(value.up),
                "response_time_sum": value.response_time,
                "response_time_max": value.response_time,
            },
        )


_Into = tuple[Callable[[tuple[str, ...]], str], bool, int, dict[tuple[str, int], Any], bool]
"""Where points of a measurement go: what makes the heads of their lines, whether by session, window, points, and whether it is the last."""


def _add_up(
    into: Sequence[_Into], session_id: str, values: tuple[str, ...], second: int, tally: Tally
) -> None:
    """Add ``tally`` to the points with the tags ``values``; it becomes one itself where there was none."""
    time = second * SECOND
    for head_of, of_session, window, points, last in into:
        key = (head_of((session_id, *values) if of_session else values), time - time % window)
        point = points.get(key)
        if point is not None:
            point.add(tally)
        elif last:
            points[key] = tally
        else:
            point = points[key] = type(tally)(0)
            point.add(tally)


def _stored(values: tuple[Any, ...]) -> tuple[str, ...]:
    """Values of tags as they can be stored: two that a tag cannot tell apart are one series."""
    return tuple([_tag_value(value) if value is not None else "" for value in values])


def _key(
    measurement: str, tier: Tier, start: int, session_id: str | None, stored: tuple[str, ...]
) -> tuple[Any, ...] | None:
    """The key of a point: its series and where its window starts; None where the measurement has no points."""
    if tier not in _TIERS[measurement]:
        return None
    if tier is Tier.SESSIONS:
        return (measurement, start, _tag_value(session_id or ""), *stored)
    return (measurement, start, *stored)


_EDGES: Final = histogram.EDGES
_TIERS: Final = {measurement.name: frozenset(measurement.tiers) for measurement in MEASUREMENTS.values()}
_ENCODERS: Final = {
    tier: {
        measurement.name: encoder(measurement.name, tier)
        for measurement in MEASUREMENTS.values()
        if fields_in(measurement, tier)
    }
    for tier in Tier
}
_PAGE: Final = STRUCTS["page_processed"]
_JOB: Final = STRUCTS["job_scraped"]
_HANDLERS: Final[Mapping[type, Callable[[Share, Event, int], None]]] = {
    struct: Share._error if metric == "error_occurred" else getattr(Share, f"_{metric}", Share._figures)
    for metric, struct in STRUCTS.items()
    if struct not in (_PAGE, _JOB)
}


def _count(add: Mapping[str, float], column: str, number: float) -> None:
    """Add ``number`` to ``column``."""
    if number:
        add[column] = add.get(column, 0) + number  # type: ignore[index]


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


def _latest(row: RowChange, time: int, **columns: Any) -> None:
    latest: dict[str, Any] = row.latest  # type: ignore[assignment]
    for name, value in columns.items():
        if value is not None and (name not in latest or time >= latest[name][0]):
            latest[name] = [time, value]


def _unite(row: RowChange, column: str, names: Iterable[str]) -> None:
    union: dict[str, Any] = row.union  # type: ignore[assignment]
    known = union.setdefault(column, [])
    known.extend(name for name in names if name not in known)
