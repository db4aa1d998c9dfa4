"""What ``/ws/system`` carries: counted from the hub, put together once an interval however many listen."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import orjson
import structlog

from api.health.checks import HealthChecker
from api.health.host import HostReader
from api.health.visible import visible_to
from api.live import summary
from api.live.activity import MOST_SESSIONS, SPAN, STEP, Activity, ProxyCounts
from api.live.interval import Interval
from api.live.stream import Streams, channel_of
from api.patience import Patience
from api.sessions.models import Session
from records.queries import RecordQueries
from scrapewatch.answers import Counts, ask
from scrapewatch.events import OWN
from scrapewatch.live import Hub, Message, Subscription
from scrapewatch.ports import DEFAULT_TENANT, SeriesStore, TimeRange
from scrapewatch.problems import ScrapewatchError
from scrapewatch.settings import Settings
from scrapewatch.time import SECOND, now_ns, to_ns, to_rfc3339

EVENTS_EVERY = 0.25
"""Seconds between summaries of events: at most four a second."""
COUNT_EVERY = 0.05
"""Seconds between counts: many small commits then cost hardly more than one large one."""
RECENT = 20
SESSIONS = 20
RECORDED = 10 * SECOND
"""After so many ns the records know what was heard."""
SESSION_STEP = 3 * STEP
"""Windows in which the sessions of the last minutes are read."""
FRESH = 1.0
"""Seconds for which a message serves those who connect."""

_log = structlog.get_logger("api.live")


@dataclass(slots=True)
class _Pending:
    """Events of a tenant since the last summary."""

    counts: Counter[str] = field(default_factory=Counter)
    recent: deque[Message] = field(default_factory=lambda: deque(maxlen=RECENT))


@dataclass(slots=True)
class _Told:
    """What was last told of a session."""

    status: str | None = None
    verdict: str | None = None
    last_event: int = 0


class LiveFeed:
    """Counts what the hub tells, and tells those who listen. Belongs to the event loop's thread."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        records: RecordQueries,
        series: SeriesStore,
        host: HostReader,
        patience: Mapping[str, Patience],
        streams: Streams,
    ) -> None:
        self.activities: dict[str, Activity] = {DEFAULT_TENANT: Activity()}
        self.checker: HealthChecker | None = None
        self.seeded = asyncio.Event()
        self._settings = settings
        self._hub = hub
        self._records = records
        self._series = series
        self._host = host
        self._patience = patience
        self._streams = streams
        self._interval = Interval(settings.real_time_update_interval)
        self._told: dict[str, dict[str, _Told]] = {}
        self._pending: dict[str, _Pending] = {}
        self._latest: dict[str, tuple[int, bytes]] = {}
        self._making = asyncio.Lock()
        # Since when it listens (ns), and which tenants' minutes before that were taken from the stores, or were asked for.
        self._began: int | None = None
        self._known: set[str] = set()
        self._wanted: set[str] = set()
        self._asked = asyncio.Event()

    def activity(self, tenant: str) -> Activity:
        """The last minutes of ``tenant``: what was before this process listened comes soon after they were first asked for."""
        if tenant not in self._known and tenant not in self._wanted:
            self._wanted.add(tenant)
            self._asked.set()
        return self._heard(tenant)

    def _heard(self, tenant: str) -> Activity:
        return self.activities.setdefault(tenant, Activity())

    async def run(self) -> None:
        """Count and tell until cancelled."""
        listening = self._hub.subscribe(limit=20_000)
        try:
            self._began = now_ns()
            await self._seed(DEFAULT_TENANT, self._began)
            await self._seed_sessions(DEFAULT_TENANT, self._began)
            self._known.add(DEFAULT_TENANT)
            self.seeded.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._count(listening))
                group.create_task(self._seed_others(self._began))
                group.create_task(self._tell_events())
                group.create_task(self._tell_sessions())
                group.create_task(self._tell_system())
        finally:
            listening.close()

    async def system_message(self, tenant: str) -> bytes:
        """The message ``system`` as JSON, not older than :data:`FRESH`."""
        async with self._making:
            made_at, text = self._latest.get(tenant, (0, b""))
            if now_ns() - made_at > FRESH * SECOND:
                text = orjson.dumps(await self.system(tenant))
                self._latest[tenant] = now_ns(), text
            return text

    async def system(self, tenant: str) -> dict[str, Any]:
        """The message ``system``; what cannot be had now is null and named in ``degraded``."""
        now, activity = now_ns(), self.activity(tenant)
        degraded: list[str] = []
        sessions: list[dict[str, Any]] | None = None
        counts: dict[str, int] | None = None
        try:
            records = self._patience["records"]
            page = await records.call(self._records.sessions, tenant, limit=SESSIONS)
            counts = asdict(await records.call(self._records.counts, tenant))
            sessions = [
                {
                    **Session.model_validate(item).model_dump(mode="json"),
                    "now": summary.session_now(activity.session(item.session_id), now),
                }
                for item in page.items
            ]
        except ScrapewatchError as error:
            degraded.append("sessions")
            _log.warning("sessions cannot be shown", reason=str(error))
        checked = self.checker.states if self.checker else {}
        states = list(visible_to(tenant, checked, activity, now).values())
        host = await asyncio.to_thread(self._host.read)
        return {
            "type": "system",
            "time": to_rfc3339(now),
            "interval": self._interval.seconds,
            "overall": summary.overall(states, sessions or [], degraded),
            "host": asdict(host),
            "throughput": summary.throughput(activity, now),
            "sites": summary.sites(activity, now),
            "errors": summary.errors(activity, now),
            "breakers": summary.breakers(activity),
            "sessions": sessions,
            "session_counts": counts,
            "services": [summary.service(state) for state in states],
            "last_event": None if activity.last_event is None else to_rfc3339(activity.last_event),
            "grafana_url": self._settings.grafana_url,
            "degraded": degraded,
        }

    async def _count(self, listening: Subscription) -> None:
        while await listening.wait():
            while slices := listening.take(1_000):
                for found in slices:
                    for tenant, messages in _by_tenant(found.messages):
                        self._heard(tenant).see(messages, now_ns())
                        if self._streams.of(tenant).wanted("summary"):
                            self._note(tenant, messages)
                await asyncio.sleep(0)
            await asyncio.sleep(COUNT_EVERY)

    def _note(self, tenant: str, messages: Sequence[Message]) -> None:
        pending = self._pending.setdefault(tenant, _Pending())
        pending.counts.update([message["metric"] for message in messages])
        latest = (
            message
            for message in reversed(messages)
            if channel_of(message) == "events" and message["metric"] not in OWN
        )
        pending.recent.extend(reversed(list(islice(latest, RECENT))))

    async def _tell_events(self) -> None:
        while True:
            await asyncio.sleep(EVENTS_EVERY)
            pending, self._pending = self._pending, {}
            for tenant, noted in pending.items():
                for metric in (*OWN, "alert"):
                    noted.counts.pop(metric, None)
                if not noted.counts:
                    continue
                summary = {
                    "type": "events",
                    "time": to_rfc3339(now_ns()),
                    "counts": dict(noted.counts),
                    "recent": [_in_short(message) for message in noted.recent],
                }
                self._streams.of(tenant).add([{"tenant": tenant, "metric": "summary", "value": summary}])

    async def _tell_system(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + self._interval.seconds
            await asyncio.sleep(self._interval.seconds)
            late = clock() - due
            listened_to = [tenant for tenant, stream in self._streams.items() if stream.wanted("system")]
            if listened_to:
                host = await asyncio.to_thread(self._host.read)
                self._interval.look(cpu_percent=host.cpu_percent, late=late)
            for tenant in listened_to:
                try:
                    text = await self.system_message(tenant)
                except Exception:
                    # One bad round must not end the live page for good.
                    _log.error("the system message failed", exc_info=True)
                    continue
                self._streams.of(tenant).tell_system(text)

    async def _tell_sessions(self) -> None:
        """Tell of sessions whose status changed at once, of what the others do once an interval, and of verdicts once they are known."""
        clock = asyncio.get_running_loop().time
        due = 0.0
        while True:
            await asyncio.sleep(EVENTS_EVERY)
            everything = clock() >= due
            if everything:
                due = clock() + self._interval.seconds
            for tenant, stream in self._streams.items():
                if not stream.wanted("sessions"):
                    self._told.pop(tenant, None)
                    continue
                try:
                    messages = await self._changed_sessions(tenant, everything=everything)
                except Exception:
                    _log.error("what sessions do cannot be told", exc_info=True)
                    continue
                if messages:
                    stream.add(messages)

    async def _changed_sessions(self, tenant: str, *, everything: bool) -> list[Message]:
        """What is new of sessions, as messages: of those whose status changed, with ``everything`` of all that did or became anything."""
        now, activity = now_ns(), self.activity(tenant)
        first = tenant not in self._told
        everything = everything or first
        told = self._told.setdefault(tenant, {})
        verdicts: dict[str, tuple[str, str | None]] = {}
        if everything:
            with contextlib.suppress(ScrapewatchError):
                page = await self._patience["records"].call(self._records.sessions, tenant, limit=SESSIONS)
                verdicts = {item.session_id: (item.status, item.verdict) for item in page.items}
        heard = activity.sessions_since(now - SPAN)
        messages: list[Message] = []
        for session_id in {**heard, **verdicts}:
            session = heard.get(session_id)
            status, verdict = verdicts.get(session_id, (None, told.get(session_id, _Told()).verdict))
            # The records are a few seconds behind what was heard, and the only ones to know of what is silent.
            if session is not None and (status is None or now - session.status_at < RECORDED):
                status = session.status or status
            before = told.get(session_id, _Told())
            state = _Told(status or before.status, verdict, session.last_event if session else 0)
            if not everything:
                state.last_event = before.last_event
            if state == before:
                continue
            told[session_id] = state
            if first and (session is None or now - session.status_at > RECORDED):
                continue  # it is no news to those who just came
            value = {
                "session_id": session_id,
                "time": to_rfc3339(now),
                "status": state.status,
                "verdict": state.verdict,
                "now": summary.session_now(session, now),
            }
            messages.append({"tenant": tenant, "metric": "session", "session_id": session_id, "value": value})
        while len(told) > MOST_SESSIONS:
            del told[next(iter(told))]
        return messages

    async def _seed_others(self, began: int) -> None:
        """Take the minutes before ``began`` of the other tenants, one after the other, as they are asked for.

        What came since was heard. So each is taken once, and one whose store does not answer is asked for again when it is next asked for.
        """
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._wanted:
                tenant = min(self._wanted)
                if tenant in self._known or now_ns() - began > SPAN:  # all that is shown was heard by now
                    self._known.add(tenant)
                elif await self._seed(tenant, began):
                    self._known.add(tenant)
                    await self._seed_sessions(tenant, began, heard_since=True)
                    self._latest.pop(tenant, None)
                self._wanted.discard(tenant)
            await asyncio.sleep(EVENTS_EVERY)

    async def _seed(self, tenant: str, now: int) -> bool:
        """Take what the store knows of the minutes before ``now``, so that a restart leaves no hole; False where it does not say."""
        stop = now - now % STEP
        time_range = TimeRange(stop - SPAN, stop, STEP)
        activity = self._heard(tenant)
        series = self._patience["series"]
        try:
            tables = {
                name: await series.call(ask, self._series, name, {}, time_range, tenant=tenant)
                for name in ("throughput", "success_rate", "response_times", "errors")
            }
            for breaker in await self._patience["records"].call(self._records.breakers, tenant):
                activity.see_breaker(
                    breaker.site_name, breaker.state, breaker.failures, to_ns(breaker.at) if breaker.at else 0
                )
        except ScrapewatchError as error:
            _log.warning("the last minutes are not known", tenant=tenant, reason=str(error))
            return False
        found: dict[tuple[int, str], Counts] = {}
        for name, columns in {
            "throughput": {"scraped": "jobs"},
            "success_rate": {"pages": "pages", "ok": "ok", "blocked": "blocked", "errors": "errors"},
            "response_times": {"duration_sum": "duration", "duration_count": "timed"},
        }.items():
            for row in tables[name].dicts():
                counts = found.setdefault((row["time"], row["site"]), Counts())
                for column, attribute in columns.items():
                    setattr(counts, attribute, row[column] or 0)
        for (start, site), counts in found.items():
            activity.seed(start, site, counts)
        for row in tables["errors"].dicts():
            activity.count_error(row["time"], row["type"], row["count"] or 0, now)
        return True

    async def _seed_sessions(self, tenant: str, now: int, *, heard_since: bool = False) -> None:
        """The same of the sessions and the proxies, in longer windows: there may be a thousand of them.

        The window of ``now`` is left out where what came in it was ``heard_since``: it would count twice.
        """
        stop = now - now % SESSION_STEP
        time_range = TimeRange(stop - SPAN, stop if heard_since else stop + SESSION_STEP, SESSION_STEP)
        activity, series = self._heard(tenant), self._patience["series"]
        try:
            pace, progress, queue, proxies = [
                await series.call(ask, self._series, name, {}, time_range, tenant=tenant)
                for name in ("session_pace", "session_progress", "queue", "proxies")
            ]
            going = {
                session.session_id
                for session in await self._patience["records"].call(
                    self._records.active_sessions, tenant, MOST_SESSIONS
                )
            }
        except ScrapewatchError as error:
            _log.warning("the pace of the sessions is not known", tenant=tenant, reason=str(error))
            return
        for row in (row for row in pace.dicts() if row["session_id"] in going):
            counts = Counts(
                jobs=row["scraped"] or 0,
                pages=row["pages"] or 0,
                ok=row["ok"] or 0,
                errors=row["errors"] or 0,
            )
            activity.seed_session(row["session_id"], row["time"], counts)
        # What was heard since is newer than what is stored.
        heard = activity.sessions_since(now)
        steps = {(name, site) for name, session in heard.items() for site in session.progress}
        queues = {
            (name, site)
            for name, session in heard.items()
            for site in (*session.active_scrapers, *session.depth)
        }
        for row in progress.dicts():
            of = (row["session_id"], row["site"])
            if row["session_id"] in going and row["done"] is not None and of not in steps:
                activity.seed_session(row["session_id"], row["time"]).see_steps(
                    row["site"], row["done"], row["total"], row["time"]
                )
        for row in queue.dicts():
            of = (row["session_id"], row["site"])
            if row["session_id"] not in going or of in queues:
                continue
            session = activity.seed_session(row["session_id"], row["time"])
            if row["active_scrapers"] is not None:
                session.active_scrapers[row["site"]] = round(row["active_scrapers"])
            if row["depth"] is not None:
                session.depth[row["site"]] = round(row["depth"])
        for row in proxies.dicts():
            seen = ProxyCounts(
                requests=row["requests"] or 0,
                failures=row["failures"] or 0,
                bans=row["bans"] or 0,
                latency=row["latency_sum"] or 0.0,
                timed=row["latency_count"] or 0,
            )
            activity.see_proxy(row["provider"], row["time"], seen)


def _by_tenant(messages: Sequence[Message]) -> Iterable[tuple[str, Sequence[Message]]]:
    tenants = {message["tenant"] for message in messages}
    if len(tenants) == 1:
        return [(tenants.pop(), messages)]
    return [
        (name, [message for message in messages if message["tenant"] == name]) for name in sorted(tenants)
    ]


def _in_short(message: Message) -> dict[str, Any]:
    value = message["value"]
    short = {key: value[key] for key in _TELLING if value.get(key) is not None}
    return {
        "metric": message["metric"],
        "session_id": message.get("session_id"),
        "time": to_rfc3339(message["time"]),
        **short,
    }


_TELLING = (
    "site",
    "count",
    "type",
    "state",
    "status",
    "success",
    "done",
    "total",
    "search_term",
    "reason",
    "name",
)
