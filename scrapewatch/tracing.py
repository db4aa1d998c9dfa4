"""Spans: what took how long within a request or a flush, for a tracer that the composition names.

.. code-block:: python

    with span("fold", {"scrapewatch.flush": number}) as fold:
        …
        fold.set({"scrapewatch.events": 12})

Until :func:`traced_by` names one, a span is nothing, at the price of looking at a variable. The way of an event has none all the same:
it is walked thousands of times a second, and :mod:`collector.observed` counts and times it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Final, Protocol

Attributes = Mapping[str, str | int | float | bool]
"""What is said of a span, by name: OpenTelemetry's own names where it has one. Never what a user sent, and nothing secret."""

Headers = Iterable[tuple[bytes, bytes]]

_NONE: Final[Attributes] = MappingProxyType({})


class Span(Protocol):
    """Something that takes time; an exception that leaves its block marks it as failed, by the exception's type alone."""

    def set(self, attributes: Attributes) -> None:
        """Say more of it."""
        ...


class Tracer(Protocol):
    """Whom spans are told to."""

    def span(
        self, name: str, attributes: Attributes, headers: Headers | None
    ) -> AbstractContextManager[Span]:
        """A span for the length of a block; see :func:`span`."""
        ...


class _Nothing:
    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def set(self, attributes: Attributes) -> None:
        """Pass over it."""


_nothing: Final = _Nothing()
_tracer: Tracer | None = None


def span(
    name: str, attributes: Attributes = _NONE, *, headers: Headers | None = None
) -> AbstractContextManager[Span]:
    """A span for the length of a block, within the one that is open in this task or thread.

    With the ``headers`` of a request it is that request, and part of the caller's trace where they name one. Names are few: what
    differs from one to the next is among the attributes.
    """
    return _nothing if _tracer is None else _tracer.span(name, attributes, headers)


@contextmanager
def traced_by(tracer: Tracer) -> Iterator[None]:
    """Tell ``tracer`` of all spans of this process that begin within the block."""
    global _tracer
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before
