"""OpenTelemetry: the spans of a process (:mod:`scrapewatch.tracing`), sent by OTLP over HTTP where the settings or the environment say to.

Nothing of OpenTelemetry is imported before that. What cannot be sent is dropped: a trace never holds up what it tells of. Sampling,
headers, time-outs and more names of the resource are OpenTelemetry's own variables (``OTEL_TRACES_SAMPLER``,
``OTEL_EXPORTER_OTLP_HEADERS``, …).

Needs the extra ``otel``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

from scrapewatch import __version__
from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import Settings
from scrapewatch.tracing import Attributes, Headers, traced_by

if TYPE_CHECKING:
    from opentelemetry import trace

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of OpenTelemetry that name a receiver."""

LAST_SECONDS: Final = 1.0
"""How long the end of a process waits for the last spans to be sent."""

_CONTEXT: Final = frozenset({b"traceparent", b"tracestate"})
_STATUS: Final = "http.response.status_code"


@contextmanager
def tracing(settings: Settings, parts: Sequence[str]) -> Iterator[None]:
    """Send the spans of this process, which runs ``parts``, for the length of the block; nothing where no receiver is named.

    Raises:
        ConfigurationError: one is named, and the extra is not installed.
    """
    endpoint = settings.otlp_endpoint
    if endpoint is None and not any(os.environ.get(name) for name in ENDPOINTS):
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError("traces need the extra otel: pip install 'scrapewatch[otel]'") from error
    exporter = OTLPSpanExporter(None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces")
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "scrapewatch"),
            "service.version": __version__,
            "scrapewatch.parts": list(parts),
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        with traced_by(_Telling(provider.get_tracer("scrapewatch", __version__))):
            yield
    finally:
        # In a thread that may be left behind: a receiver that hangs would hold up the end for half a minute.
        sending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(LAST_SECONDS)


class _Telling:
    """Spans as OpenTelemetry's ``tracer`` takes them."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def span(
        self, name: str, attributes: Attributes, headers: Headers | None
    ) -> AbstractContextManager[_Span]:
        """A span for the length of a block."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = None
        if headers is not None:
            named = {key.decode(): value.decode("latin-1") for key, value in headers if key in _CONTEXT}
            context = TraceContextTextMapPropagator().extract(named)
        return _Span(
            self._tracer.start_as_current_span(
                name,
                context,
                SpanKind.INTERNAL if headers is None else SpanKind.SERVER,
                attributes,
                # An exception's text may hold what a user sent.
                record_exception=False,
                set_status_on_exception=False,
            )
        )


class _Span:
    """A span that is open while its block runs."""

    def __init__(self, opening: AbstractContextManager[trace.Span]) -> None:
        self._opening = opening
        self._answered = False

    def __enter__(self) -> _Span:
        self._span = self._opening.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self._answered:
            self._failed(kind.__qualname__)
        self._opening.__exit__(kind, error, trace)

    def set(self, attributes: Attributes) -> None:
        """Say more of it; a status of HTTP says whether it failed, whatever its block raises then."""
        self._span.set_attributes(attributes)
        status = attributes.get(_STATUS)
        if isinstance(status, int):
            self._answered = True
            if status >= 500:
                self._failed(str(status))

    def _failed(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)
