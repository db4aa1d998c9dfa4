"""Structured logs without secrets: lines for people on a terminal, JSON for machines."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog

from scrapewatch.settings import Settings
from stack.redaction import Redaction


class _Lenient:
    """A stream that takes what it can: a log on a full disk must not end the thread that has something to say."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """``text``, if it can be written."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """What was written, if it can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _Structured(logging.Handler):
    """What libraries log, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it as ours."""
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a fault of theirs must not become one of ours
            text = str(record.msg)
        structlog.get_logger(record.name).log(level, text, exc_info=record.exc_info)


def set_up_logs(settings: Settings) -> None:
    """Log to standard error as the settings say, and have libraries log there from warnings on."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    processors += [structlog.processors.format_exc_info, Redaction(settings)]
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Lenient(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Structured)]:
        root.removeHandler(handler)
    root.addHandler(_Structured(logging.WARNING))
