"""The API's own metrics, for Prometheus at ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.asked import BUCKETS, Asked
from api.health.checks import HealthChecker
from api.health.findings import Status
from api.live.connections import Connections
from scrapewatch import __version__
from scrapewatch.http import status_of
from scrapewatch.tracing import span

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""https://prometheus.io/docs/instrumenting/exposition_formats/"""


class _Called(Collector):
    """Metrics that are made when they are asked for."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return ()


class Telemetry:
    """A registry of its own, so that two applications of one process do not meet in the global one."""

    def __init__(
        self,
        connections: Connections,
        checker: HealthChecker,
        asked: Asked,
        extra: Callable[[], Iterable[Metric]] | None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "scrapewatch_api_requests",
            "Requests that the API answered, by route and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "scrapewatch_api_request_seconds",
            "Time that the API took to answer, in seconds; of an export, until it began.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        for metric in (asked.seconds, asked.failures):
            self._registry.register(metric)
        self._connections = connections
        self._checker = checker
        self._registry.register(_Called(self._own))
        if extra is not None:
            self._registry.register(_Called(extra))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def route_class(self) -> type[APIRoute]:
        """A class of routes whose answers are counted and timed, by the route's template (without its version), not by what was asked."""
        requests, seconds = self._requests, self._seconds

        class MeasuredRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()
                route = self.path_format

                async def measured(request: Request) -> Response:
                    began = time.perf_counter()
                    status = 500
                    with span(
                        f"{request.method} {route}",
                        {
                            "http.request.method": request.method,
                            "http.route": route,
                            "scrapewatch.request_id": getattr(request.state, "request_id", ""),
                        },
                        headers=request.scope["headers"],
                    ) as answering:
                        try:
                            response = await handle(request)
                            status = response.status_code
                            return response
                        except Exception as error:
                            status = status_of(error)
                            raise
                        finally:
                            answering.set({"http.response.status_code": status})
                            labels = (request.method, route, str(status))
                            seconds.labels(*labels).observe(time.perf_counter() - began)
                            requests.labels(*labels).inc()

                return measured

        return MeasuredRoute

    def _own(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "scrapewatch_build_info", "The version that runs; always 1.", labels=("version",)
        )
        info.add_metric((__version__,), 1)
        yield info
        yield GaugeMetricFamily(
            "scrapewatch_api_websockets",
            "WebSockets and streams of events that are open.",
            self._connections.open,
        )
        yield CounterMetricFamily(
            "scrapewatch_api_websockets_accepted",
            "WebSockets and streams of events that were let in.",
            self._connections.accepted,
        )
        yield CounterMetricFamily(
            "scrapewatch_api_websockets_refused",
            "WebSockets and streams of events that found no room.",
            self._connections.refused,
        )
        yield CounterMetricFamily(
            "scrapewatch_api_websocket_dropped_clients",
            "WebSockets closed because the client did not read.",
            self._connections.dropped_clients,
        )
        yield CounterMetricFamily(
            "scrapewatch_api_websocket_dropped_messages",
            "Messages that WebSockets lost because the client read too slowly.",
            self._connections.dropped_messages,
        )
        up = GaugeMetricFamily(
            "scrapewatch_service_up",
            "1 where the last check found a service up, 0 where not.",
            labels=("service",),
        )
        for state in self._checker.states.values():
            if state.finding.status is not Status.UNKNOWN:
                up.add_metric((state.name,), float(state.finding.status is not Status.DOWN))
        yield up
