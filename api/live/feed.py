"""What ``/ws/system`` carries: counted from the hub, put together once an interval however many listen."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import orjson
import structlog

from api.health.checks import HealthChecker
from api.health.host import HostReader
from api.live import summary
from api.live.activity import SPAN, STEP, Activity, Counts
from api.live.stream import Streams
from api.patience import Patience
from api.sessions.models import Session
from records.queries import RecordQueries
from scrapewatch.answers import ask
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
FRESH = 1.0
"""Seconds for which a message serves those who connect."""

_log = structlog.get_logger("api.live")


@dataclass(slots=True)
class _Pending:
    """Events of a tenant since the last summary."""

    counts: Counter[str] = field(default_factory=Counter)
    recent: deque[Message] = field(default_factory=lambda: deque(maxlen=RECENT))


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
        self._pending: dict[str, _Pending] = {}
        self._latest: dict[str, tuple[int, bytes]] = {}
        self._making = asyncio.Lock()

    def activity(self, tenant: str) -> Activity:
        """The last minutes of ``tenant``."""
        return self.activities.setdefault(tenant, Activity())

    async def run(self) -> None:
        """Count and tell until cancelled."""
        listening = self._hub.subscribe(limit=20_000)
        try:
            await self._seed(now_ns())
            self.seeded.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._count(listening))
                group.create_task(self._tell_events())
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
        states = list(self.checker.states.values()) if self.checker else []
        return {
            "type": "system",
            "time": to_rfc3339(now),
            "interval": self._settings.real_time_update_interval,
            "overall": summary.overall(states, sessions or [], degraded),
            "host": asdict(await asyncio.to_thread(self._host.read)),
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
                        self.activity(tenant).see(messages, now_ns())
                        if self._streams.of(tenant).wanted("summary"):
                            self._note(tenant, messages)
                await asyncio.sleep(0)
            await asyncio.sleep(COUNT_EVERY)

    def _note(self, tenant: str, messages: Sequence[Message]) -> None:
        pending = self._pending.setdefault(tenant, _Pending())
        pending.counts.update([message["metric"] for message in messages])
        latest = (message for message in reversed(messages) if message["metric"] not in OWN)
        pending.recent.extend(reversed(list(islice(latest, RECENT))))

    async def _tell_events(self) -> None:
        while True:
            await asyncio.sleep(EVENTS_EVERY)
            pending, self._pending = self._pending, {}
            for tenant, noted in pending.items():
                for metric in OWN:
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
        while True:
            await asyncio.sleep(self._settings.real_time_update_interval)
            for tenant, stream in self._streams.items():
                if not stream.wanted("system"):
                    continue
                try:
                    text = await self.system_message(tenant)
                except Exception:
                    # One bad round must not end the live page for good.
                    _log.error("the system message failed", exc_info=True)
                    continue
                stream.tell_system(text)

    async def _seed(self, now: int) -> None:
        """Take what the store knows of the last minutes, so that a restart leaves no hole in the picture."""
        stop = now - now % STEP
        time_range = TimeRange(stop - SPAN, stop, STEP)
        activity = self.activity(DEFAULT_TENANT)
        series = self._patience["series"]
        try:
            tables = {
                name: await series.call(ask, self._series, name, {}, time_range, tenant=DEFAULT_TENANT)
                for name in ("throughput", "success_rate", "response_times", "errors")
            }
            for breaker in await self._patience["records"].call(self._records.breakers, DEFAULT_TENANT):
                activity.see_breaker(
                    breaker.site_name, breaker.state, breaker.failures, to_ns(breaker.at) if breaker.at else 0
                )
        except ScrapewatchError as error:
            _log.warning("the last minutes are not known", reason=str(error))
            return
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
