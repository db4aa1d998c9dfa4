"""What the API works with: handed in by the composition, and the parts it makes of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client.metrics_core import Metric

from api.asked import RECORDS, Asked, AskedSeries
from api.exports.making import STEP_SECONDS, ExportMaker
from api.exports.repeated import LEASE, Repeated
from api.exports.tables import ExportReader
from api.health.checks import (
    Check,
    HealthChecker,
    http_check,
    ready_check,
    redis_check,
    status_check,
)
from api.health.findings import Finding, Kind, ServiceState
from api.health.host import HostReader
from api.health.judging import judge_orchestrator
from api.health.outlook import Outlook
from api.health.probe import SiteProbes
from api.health.visible import visible_to
from api.live.connections import Connections
from api.live.feed import LiveFeed
from api.live.stream import Streams
from api.patience import Patience
from api.resources.machine import MachineReader
from api.telemetry import Telemetry
from records.alerts import AlertRecords
from records.credentials import SqlCredentials
from records.exports import ExportSchedules, RecordExports
from records.leases import hold_lease
from records.market import MarketQueries
from records.queries import RecordQueries
from scrapewatch.gate import Gate
from scrapewatch.live import Hub
from scrapewatch.ports import DEFAULT_TENANT, SeriesStore
from scrapewatch.settings import Settings, probes_of
from scrapewatch.time import now_ns, to_ns
from scrapewatch.tokens import Tokens

Report = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]
CollectorStatus = Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass
class ApiServices:
    """The parts of one API.

    Args:
        settings: the settings.
        series: the store of points.
        records: the half of the records that is read.
        hub: where durable events are published.
        report: hands events of the API's own (checks of services) to the collector.
        collector_status: what the collector says of itself: ``problems`` is a list of sentences, empty when it is well; None where
            it runs in another process.
        extra_metrics: Prometheus metrics of others in this process, such as the collector, for ``/metrics``.
        gate: who may pass; what is changed about credentials here is known to it at once.
        tokens: makes tokens for who shows a key; without it there are no routes of credentials.
        credentials: keys and tenants, for who makes and takes them back.
    """

    settings: Settings
    series: SeriesStore
    records: RecordQueries
    hub: Hub
    report: Report
    collector_status: CollectorStatus | None = None
    extra_metrics: Callable[[], Iterable[Metric]] | None = None
    gate: Gate | None = None
    tokens: Tokens | None = None
    credentials: SqlCredentials | None = None

    asked: Asked = field(init=False)
    patience: dict[str, Patience] = field(init=False)
    started_at: int = field(init=False)
    alerts: AlertRecords = field(init=False)
    host: HostReader = field(init=False)
    machine: MachineReader = field(init=False)
    outlook: Outlook = field(init=False)
    probes: SiteProbes = field(init=False)
    feed: LiveFeed = field(init=False)
    checker: HealthChecker = field(init=False)
    connections: Connections = field(init=False)
    streams: Streams = field(init=False)
    market: MarketQueries = field(init=False)
    exports: ExportMaker = field(init=False)
    schedules: ExportSchedules = field(init=False)
    repeated: Repeated = field(init=False)
    telemetry: Telemetry = field(init=False)

    def __post_init__(self) -> None:
        self.asked = Asked()
        self.series = AskedSeries(self.series, self.asked)
        self.patience = {
            "records": Patience("the database", asking=partial(self.asked.asking, RECORDS)),
            "series": Patience("the store of points"),
            "checks": Patience("it", threads=4),
            "exports": Patience("what is exported", seconds=STEP_SECONDS, threads=4),
            "machine": Patience("the machine", seconds=2.0, threads=2),
        }
        self.started_at = now_ns()
        self.alerts = AlertRecords(self.records.engine)
        self.machine = MachineReader()
        self.outlook = Outlook(self.series, self.patience["series"])
        self.probes = SiteProbes(probes_of(self.settings.site_probes), self.settings.site_probe_interval)
        self.host = HostReader(self.settings.data_dir)
        engine = self.records.engine
        self.market = MarketQueries(engine)
        self.exports = ExportMaker(
            ExportReader(self.series, RecordExports(engine)),
            self.settings.data_dir,
            self.patience["exports"],
        )
        self.schedules = ExportSchedules(engine)
        self.repeated = Repeated(
            self.schedules,
            self.exports,
            self.patience["records"],
            lambda holder, seconds: hold_lease(engine, LEASE, holder, seconds),
        )
        self.connections = Connections(self.settings.websocket_max_connections)
        self.streams = Streams(self.hub, self.connections)
        self.feed = LiveFeed(
            self.settings, self.hub, self.records, self.series, self.host, self.patience, self.streams
        )
        self.checker = HealthChecker(
            self.settings,
            self.series,
            self.patience["checks"],
            self._checks(),
            self.feed.activity(DEFAULT_TENANT),
            self.report,
            self.probes,
        )
        self.feed.checker = self.checker
        self.telemetry = Telemetry(self.connections, self.checker, self.asked, self.extra_metrics)

    def _checks(self) -> dict[str, tuple[Kind, Check]]:
        settings, patience = self.settings, self.patience["checks"]
        points = "influxdb" if settings.influx_url else "embedded store"
        checks: dict[str, tuple[Kind, Check]] = {
            points: (Kind.STORE, ready_check(patience, self.series.ready)),
            "sql": (Kind.STORE, ready_check(patience, self.records.ping)),
        }
        if self.collector_status is not None:
            checks["collector"] = Kind.SERVICE, status_check(self.collector_status)
        elif settings.collector_url:
            checks["collector"] = Kind.SERVICE, http_check(f"{settings.collector_url.rstrip('/')}/readyz")
        checks["orchestrator"] = Kind.SERVICE, self._check_orchestrator
        if settings.redis_url:
            checks["redis"] = Kind.SERVICE, redis_check(settings.redis_url.get_secret_value())
        if settings.grafana_url:
            checks["grafana"] = Kind.SERVICE, http_check(f"{settings.grafana_url.rstrip('/')}/api/health")
        return checks

    async def _check_orchestrator(self) -> Finding:
        records = self.patience["checks"]
        heard = self.feed.activity(DEFAULT_TENANT).last_event
        counts = await records.call(self.records.counts, DEFAULT_TENANT)
        if heard is None:
            recorded = await records.call(self.records.last_event_at, DEFAULT_TENANT)
            heard = None if recorded is None else to_ns(recorded)
        return judge_orchestrator(heard, counts.active, self.settings.stall_after, now_ns())

    def states(self, tenant: str) -> dict[str, ServiceState]:
        """The services as last checked, as ``tenant`` may see them."""
        return visible_to(tenant, self.checker.states, self.feed.activity(tenant), now_ns())

    def database_connections(self) -> int | None:
        """Connections to the database in use; None where its pool does not count them."""
        counted = getattr(self.records.engine.pool, "checkedout", None)
        return None if counted is None else int(counted())
