"""The figures of the last minutes, counted from the hub: who looks at them asks no store.

An event counts in the window of its own time. What is older than :data:`SPAN` is not counted: history that is imported is not live.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scrapewatch.answers import Counts, mean, share
from scrapewatch.events import OWN
from scrapewatch.live import Message
from scrapewatch.time import MINUTE, SECOND

STEP = 10 * SECOND
SPAN = 15 * MINUTE

STEPS_EVERY = 5 * SECOND
"""The steps that a session reports are kept so densely: enough to tell its pace."""

MOST_SESSIONS = 2_000
MOST_SITES = 500
MOST_PROVIDERS = 200
MOST_ERROR_TYPES = 50
# Names come from scrapers: beyond these, what is least recently heard of makes room, or is counted under "other".

_COUNTED = frozenset({"job_scraped", "page_processed", "error_occurred"})

_STATUS = {
    "session_queued": "queued",
    "session_started": "running",
    "session_paused": "paused",
    "session_resumed": "running",
    "session_finished": None,
}
"""What an event makes of a session's status; None: what it says."""


@dataclass(slots=True)
class _Tally(Counts):
    """What one batch has of a site and a session in one window; ``latest`` is the time of its latest event in ns."""

    latest: int = 0


class Windows:
    """Counts by window, for as long as :data:`SPAN`."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: dict[int, Counts] = {}

    def at(self, start: int) -> Counts:
        """The counts of the window that begins at ``start``."""
        found = self._windows.get(start)
        if found is None:
            found = self._windows[start] = Counts()
            if len(self._windows) > SPAN // STEP + 6:
                newest = max(self._windows)
                self._windows = {at: counts for at, counts in self._windows.items() if at > newest - SPAN}
        return found

    def between(self, start: int, stop: int) -> Counts:
        """All windows that begin from ``start`` (inclusive) to ``stop`` (exclusive), added up."""
        total = Counts()
        for at, counts in self._windows.items():
            if start <= at < stop:
                total.add(counts)
        return total

    def jobs(self, starts: Iterable[int]) -> list[int]:
        """Jobs of each of the windows."""
        return [found.jobs if (found := self._windows.get(start)) else 0 for start in starts]


@dataclass(slots=True)
class ProxyCounts:
    """What was seen of the proxies of a provider."""

    requests: int = 0
    failures: int = 0
    bans: int = 0
    latency: float = 0.0
    timed: int = 0

    def add(self, other: ProxyCounts) -> None:
        """Add ``other`` to this."""
        self.requests += other.requests
        self.failures += other.failures
        self.bans += other.bans
        self.latency += other.latency
        self.timed += other.timed

    @property
    def success(self) -> float | None:
        """Share of requests that did not fail; None without any."""
        return share(self.requests - min(self.failures, self.requests), self.requests)

    @property
    def mean_latency(self) -> float | None:
        """Mean seconds of a request; None where none is known."""
        return mean(self.latency, self.timed)


@dataclass(slots=True)
class Breaker:
    """The latest state of a site's circuit breaker; ``time`` in ns."""

    state: str
    failures: int | None
    time: int


@dataclass(slots=True)
class SessionActivity:
    """What a session does now."""

    windows: Windows = field(default_factory=Windows)
    progress: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    steps: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=SPAN // STEPS_EVERY))
    active_scrapers: dict[str, int] = field(default_factory=dict)
    depth: dict[str, int] = field(default_factory=dict)
    memory_mb: float | None = None
    cpu_percent: float | None = None
    last_event: int = 0
    status: str | None = None
    status_at: int = 0

    def see_steps(self, site: str, done: int, total: int | None, time: int) -> None:
        """Note how far it is at a site, and when all in all it was where."""
        self.progress[site] = (done, total)
        whole = sum(done for done, _ in self.progress.values())
        last = self.steps[-1][0] if self.steps else 0
        if time >= last:
            if self.steps and time // STEPS_EVERY == last // STEPS_EVERY:
                self.steps.pop()
            self.steps.append((time, whole))


class Activity:
    """The last minutes of one tenant. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.last_event: int | None = None
        self.breakers: OrderedDict[str, Breaker] = OrderedDict()
        self._all = Windows()
        self._sites: OrderedDict[str, Windows] = OrderedDict()
        self._sessions: OrderedDict[str, SessionActivity] = OrderedDict()
        self._proxies: OrderedDict[str, dict[int, ProxyCounts]] = OrderedDict()
        self._errors: dict[int, dict[str, int]] = {}

    def see(self, messages: Iterable[Message], now: int) -> None:
        """Count ``messages``, some of which may be older than what is kept.

        A batch is folded before it is added to the windows, which takes as long for each site and session in it as for one message.
        """
        oldest, last = now - SPAN, self.last_event or 0
        tallies: dict[tuple[int, str, str | None], _Tally] = {}
        errors: dict[tuple[int, str], int] = {}
        for message in messages:
            metric = message["metric"]
            if metric in OWN or metric == "alert":
                continue
            if metric == "resources" and message["value"].get("sampled"):
                # By the collector, that is: the scraper was not heard of.
                known = self._sessions.get(message["session_id"])
                if known is not None:
                    _note(known, metric, message["value"])
                continue
            time = message["time"]
            if time > last:
                last = time
            if time <= oldest:
                continue
            value, session_id = message["value"], message.get("session_id")
            if metric not in _COUNTED:
                self._see_state(metric, value, session_id, time)
                continue
            key = (time - time % STEP, value["site"], session_id)
            tally = tallies.get(key)
            if tally is None:
                tally = tallies[key] = _Tally()
            if time > tally.latest:
                tally.latest = time
            count = value.get("count", 1)
            if metric == "page_processed":
                tally.pages += count
                status = value.get("status")
                if value.get("blocked"):
                    tally.blocked += count
                elif status is None or status < 400:
                    tally.ok += count
                duration = value.get("duration")
                if duration is not None:
                    tally.duration += duration
                    tally.timed += count
            elif metric == "job_scraped":
                tally.jobs += count
            else:
                tally.errors += count
                kind = (key[0], str(value.get("type", "other")))
                errors[kind] = errors.get(kind, 0) + count
        self.last_event = last or self.last_event
        for (start, site, session_id), tally in tallies.items():
            self.seed(start, site, tally)
            if session_id:
                session = self._session(session_id)
                session.windows.at(start).add(tally)
                session.last_event = max(session.last_event, tally.latest)
        for (start, error), count in errors.items():
            self.count_error(start, error, count, now)

    def _see_state(self, metric: str, value: Mapping[str, Any], session_id: str | None, time: int) -> None:
        session = self._session(session_id) if session_id else None
        if session is not None:
            session.last_event = max(session.last_event, time)
            if metric in _STATUS and time >= session.status_at:
                session.status = _STATUS[metric] or value["status"]
                session.status_at = time
        if metric == "circuit_breaker":
            self.see_breaker(value["site"], value["state"], value.get("failures"), time)
        elif metric == "proxy":
            self.see_proxy(value["provider"], time, _proxy_counts(value))
        elif metric == "progress" and session is not None:
            session.see_steps(value.get("site") or "", value["done"], value.get("total"), time)
        elif session is not None:
            _note(session, metric, value)

    def see_breaker(self, site: str, state: str, failures: int | None, time: int) -> None:
        """Keep the state of a site's breaker unless a later one is known."""
        known = self.breakers.get(site)
        if known is None or time >= known.time:
            self.breakers[site] = Breaker(state, failures, time)
            _bound(self.breakers, site, MOST_SITES)

    def see_proxy(self, provider: str, time: int, counts: ProxyCounts) -> None:
        """Add what was seen of a provider's proxies at ``time``."""
        windows = self._proxies.setdefault(provider, {})
        _bound(self._proxies, provider, MOST_PROVIDERS)
        start = time - time % STEP
        windows.setdefault(start, ProxyCounts()).add(counts)
        if len(windows) > SPAN // STEP + 6:
            for old in [at for at in windows if at <= start - SPAN]:
                del windows[old]

    def proxies(self, start: int, stop: int) -> dict[str, ProxyCounts]:
        """Proxies by provider in the windows from ``start`` (inclusive) to ``stop`` (exclusive), of those that were used; by name."""
        found = {}
        for provider in sorted(self._proxies):
            total = ProxyCounts()
            for at, counts in self._proxies[provider].items():
                if start <= at < stop:
                    total.add(counts)
            if total.requests:
                found[provider] = total
        return found

    def seed(self, start: int, site: str, counts: Counts) -> None:
        """Add what a store knows of the window that begins at ``start``, from before this process listened."""
        self._all.at(start).add(counts)
        self._site(site).at(start).add(counts)

    def seed_session(self, session_id: str, start: int, counts: Counts | None = None) -> SessionActivity:
        """The session, with what a store knows of the window that begins at ``start``, from before this process listened."""
        session = self._session(session_id)
        session.last_event = max(session.last_event, start)
        if counts is not None:
            session.windows.at(start).add(counts)
        return session

    def total(self, start: int, stop: int) -> Counts:
        """Everything in the windows that begin from ``start`` (inclusive) to ``stop`` (exclusive)."""
        return self._all.between(start, stop)

    def sites(self, start: int, stop: int) -> dict[str, Counts]:
        """The same by site, of those that were heard of; sorted by name."""
        return {site: self._sites[site].between(start, stop) for site in sorted(self._sites)}

    def errors(self, start: int, stop: int) -> dict[str, int]:
        """Errors by type in these windows, the most frequent first."""
        total: dict[str, int] = {}
        for at, types in self._errors.items():
            if start <= at < stop:
                for kind, count in types.items():
                    total[kind] = total.get(kind, 0) + count
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def jobs_by_window(self, starts: Sequence[int]) -> dict[str, list[int]]:
        """Jobs of each window by site, of the sites that had any; sorted by name."""
        found = {site: self._sites[site].jobs(starts) for site in sorted(self._sites)}
        return {site: counts for site, counts in found.items() if any(counts)}

    def session(self, session_id: str) -> SessionActivity | None:
        """What a session does now, None where nothing was heard of it lately."""
        return self._sessions.get(session_id)

    def sessions_since(self, since: int) -> dict[str, SessionActivity]:
        """The sessions that were heard of since ``since``, by id."""
        return {name: session for name, session in self._sessions.items() if session.last_event >= since}

    def active_scrapers(self, since: int) -> int:
        """Scrapers at work in all sessions that were heard of since ``since``."""
        return sum(
            sum(session.active_scrapers.values())
            for session in self._sessions.values()
            if session.last_event >= since
        )

    def queued(self, since: int) -> int:
        """Requests that wait in the queues of all sessions that were heard of since ``since``."""
        return sum(
            sum(session.depth.values()) for session in self._sessions.values() if session.last_event >= since
        )

    def _site(self, name: str) -> Windows:
        windows = self._sites.get(name)
        if windows is None:
            windows = self._sites[name] = Windows()
        _bound(self._sites, name, MOST_SITES)
        return windows

    def _session(self, session_id: str) -> SessionActivity:
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = SessionActivity()
        _bound(self._sessions, session_id, MOST_SESSIONS)
        return session

    def count_error(self, start: int, kind: str, count: int, now: int) -> None:
        """Count errors of a type in the window that begins at ``start``."""
        types = self._errors.get(start)
        if types is None:
            self._errors = {at: known for at, known in self._errors.items() if at > now - SPAN - MINUTE}
            types = self._errors[start] = {}
        if kind not in types and len(types) >= MOST_ERROR_TYPES:
            kind = "other"
        types[kind] = types.get(kind, 0) + count


def _bound(known: OrderedDict[str, Any], name: str, most: int) -> None:
    known.move_to_end(name)
    if len(known) > most:
        known.popitem(last=False)


def _proxy_counts(value: Mapping[str, Any]) -> ProxyCounts:
    requests, latency = value.get("requests", 1), value.get("latency")
    return ProxyCounts(
        requests=requests,
        failures=value.get("failures", 0),
        bans=value.get("bans", 0),
        latency=0.0 if latency is None else latency * requests,
        timed=0 if latency is None else requests,
    )


def _note(session: SessionActivity, metric: str, value: Mapping[str, Any]) -> None:
    site = value.get("site") or ""
    if metric == "session_finished":
        session.active_scrapers.clear()
        session.depth.clear()
    elif metric == "queue":
        if "active_scrapers" in value:
            session.active_scrapers[site] = value["active_scrapers"]
        if "depth" in value:
            session.depth[site] = value["depth"]
    elif metric == "resources":
        session.memory_mb = value.get("memory_mb", session.memory_mb)
        session.cpu_percent = value.get("cpu_percent", session.cpu_percent)
