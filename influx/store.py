"""The SeriesStore on InfluxDB 2: writes that say what became of each line, questions asked with bound parameters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from influx.buckets import bucket_name
from influx.externs import Duration, Literal, Pattern, Time, extern
from influx.server import BOOTSTRAP, Answer, Server, usable_token
from scrapewatch.line_protocol import Point
from scrapewatch.measurements import MEASUREMENTS, Fold, Tier, fields_in, rollup_fields
from scrapewatch.ports import DEFAULT_TENANT, Batch, Flush, Rejected, Table, TimeRange, WriteResult
from scrapewatch.problems import StoreUnavailable, TenantRefused
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import MINUTE, now_ns, to_ns

# The sizes that InfluxDB recommends are 5,000 lines; a request of 1 MB is one of its parses at a time.
# https://docs.influxdata.com/influxdb/v2/write-data/best-practices/optimize-writes/
LINES_A_REQUEST = 5_000
BYTES_A_REQUEST = 1_000_000

_FLUX = Path(__file__).parent / "flux"
_ALL_DROPPED = re.compile(r"dropped=(\d+)(?: for database: \w+ for retention policy: \w+)?$")
_TIME_ROW = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


@dataclass(frozen=True, slots=True)
class _Portion:
    """Lines of a batch that go in one request, with the events that each stands for."""

    batch: Batch
    lines: Sequence[str]
    events: Sequence[int]

    def halves(self) -> tuple[_Portion, _Portion]:
        middle = len(self.lines) // 2
        return (
            _Portion(self.batch, self.lines[:middle], self.events[:middle]),
            _Portion(self.batch, self.lines[middle:], self.events[middle:]),
        )


@dataclass(slots=True)
class _Tally:
    """What became of some lines so far, and why no more of them can be sent now; ``of`` is the tenant and tier that they are of."""

    of: tuple[str, Tier] | None = None
    accepted: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    problem: StoreUnavailable | None = None

    def reject(self, batch: Batch, line: str, events: int, reason: str) -> None:
        self.rejected.append(Rejected(batch.tenant, batch.tier, line, events, reason))


class InfluxStore:
    """Points in InfluxDB 2 at ``url``: a bucket for each tenant and tier (:func:`influx.buckets.bucket_name`).

    ``tokens`` is one token for every tenant, tenant → token, or what says the token of a tenant each time (None: it has none); each
    needs to read and write its tenant's buckets, or only to read them where nothing is written (``writes=False``). A flush is written
    by up to ``connections`` requests at once. Time-outs are in seconds. May be used from any thread.
    Nothing connects before the first call.

    Raises:
        ConfigurationError: ``url`` or a token cannot be used.

    """

    takes_lines = True

    def __init__(
        self,
        url: str,
        org: str,
        tokens: str | Mapping[str, str] | Callable[[str], str | None],
        *,
        writes: bool = True,
        connections: int = 2,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
    ) -> None:
        self._writes = writes
        self._senders = ThreadPoolExecutor(connections, thread_name_prefix="influx")
        self._closed = False
        self._server = Server(url, org, connect_timeout=connect_timeout, read_timeout=read_timeout)
        self._token_of_all = usable_token(tokens) if isinstance(tokens, str) else None
        self._say_token = tokens if callable(tokens) else None
        self._tokens = (
            {name: usable_token(token) for name, token in tokens.items()}
            if isinstance(tokens, Mapping)
            else {}
        )

    def write(self, flush: Flush) -> WriteResult:
        """Store the points of ``flush``; see :meth:`scrapewatch.ports.SeriesStore.write`.

        Each request is tried once: the caller waits and sends the flush again. A request that InfluxDB refuses for its lines is
        halved until the guilty ones stand alone. Sending a good one twice on the way is harmless, since points overwrite.
        Of two lines of one flush with the same series and time, either may stay.
        """
        refused = _Tally()
        portions = [portion for batch in flush.batches for portion in _portions(batch, refused)]
        tallies = [_Tally((portion.batch.tenant, portion.batch.tier)) for portion in portions]
        if len(portions) == 1:
            self._send_all(portions[0], tallies[0], tallies)
        else:
            self._send_at_once(portions, tallies)
        rejected = refused.rejected + [line for tally in tallies for line in tally.rejected]
        accepted = sum(tally.accepted for tally in tallies)
        held = {
            tally.of: str(tally.problem)
            for tally in tallies
            if tally.of is not None and isinstance(tally.problem, TenantRefused)
        }
        problems = [
            tally.problem
            for tally in tallies
            if tally.problem is not None and not isinstance(tally.problem, TenantRefused)
        ]
        if not problems:
            if held:  # they are sent again as a whole, and rejected then
                rejected = [line for line in rejected if (line.tenant, line.tier) not in held]
            return WriteResult(accepted, rejected, held=held)
        waits = [problem.retry_after for problem in problems if problem.retry_after is not None]
        return WriteResult(accepted, rejected, str(problems[0]), max(waits, default=None))

    def _send_at_once(self, portions: Sequence[_Portion], tallies: Sequence[_Tally]) -> None:
        sending: list[Future[None]] = []
        try:
            for portion, tally in zip(portions, tallies, strict=True):
                sending.append(self._senders.submit(self._send_all, portion, tally, tallies))
        except RuntimeError:  # it was closed meanwhile
            tallies[len(sending)].problem = StoreUnavailable("the store is closed")
        for future, tally in zip(sending, tallies, strict=False):
            try:
                future.result()
            except CancelledError:
                tally.problem = StoreUnavailable("the store is closed")

    def _send_all(self, portion: _Portion, tally: _Tally, others: Sequence[_Tally]) -> None:
        """Send a portion, unless another of its flush met a server that takes none now, or none of this tenant and tier."""
        if any(
            other.problem is not None
            and (other.of == tally.of or not isinstance(other.problem, TenantRefused))
            for other in others
        ):
            return
        try:
            self._send(portion, tally)
        except StoreUnavailable as problem:
            tally.problem = problem

    def _send(self, portion: _Portion, tally: _Tally) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        batch, lines = portion.batch, portion.lines
        bucket = bucket_name(batch.tenant, batch.tier)
        answer = self._post_lines(batch.tenant, bucket, "\n".join(lines).encode())
        if answer.ok:
            tally.accepted += len(lines)
            return
        # Only InfluxDB itself can say that a line is bad; a 400 of some proxy on the way says nothing about lines.
        about_lines = answer.status in (400, 422) and answer.code in ("invalid", "unprocessable entity")
        if not about_lines and answer.status != 413:
            raise _refusal(self._server, answer, bucket)
        dropped = _ALL_DROPPED.search(answer.message)
        all_dropped = answer.status == 422 and dropped is not None and int(dropped[1]) == len(lines)
        if len(lines) == 1 or all_dropped:
            for line, events in zip(lines, portion.events, strict=True):
                tally.reject(batch, line, events, answer.message or "too large")
            return
        for half in portion.halves():
            self._send(half, tally)

    def _post_lines(self, tenant: str, bucket: str, body: bytes) -> Answer:
        return self._server.request(
            "POST",
            "/api/v2/write",
            self._token(tenant),
            query={"org": self._server.org, "bucket": bucket, "precision": "ns"},
            body=body,
        )

    def ask(
        self, question: str, parameters: Mapping[str, str], time_range: TimeRange, *, tier: Tier, tenant: str
    ) -> Table:
        """The rows of a question, from ``influx/flux/<question>.flux``; see :meth:`scrapewatch.ports.SeriesStore.ask`.

        A result of the file's that is named after a column fills it where it has no ``_field``, or by the field ``count``; all else fills
        the columns that its ``_field`` names, with or without the ``_max`` that the rollups give to the maxima of gauges.

        Raises:
            StoreUnavailable: the store does not answer, or not this.

        """
        known = QUESTIONS[question]
        answer = self._query(question, parameters, time_range, tier=tier, tenant=tenant)
        width = len(known.columns)
        places = {column.name: place for place, column in enumerate(known.columns)}
        readers = {
            column.name: (int if column.type == "int" else float)
            for column in known.columns
            if column.name not in known.key
        }
        key_places = [places[name] for name in known.key]
        times = _Times()
        found: dict[tuple[str, ...], dict[str, list[Any]]] = {}
        for name, header, values in _results(answer):
            time_at, value_at, field_at = header["_time"], header["_value"], header.get("_field")
            tags_at = [header.get(column) for column in known.key[1:]]
            series_at = [at for at in (field_at, *tags_at) if at is not None]
            # The rows of a series come one after the other: what is the same in all is made once.
            series_of = itemgetter(*series_at) if series_at else lambda _: ()
            before = None
            for row in values:
                series = series_of(row)
                if series != before:
                    before = series
                    tags = tuple("" if at is None else row[at] for at in tags_at)
                    column = _column(name, None if field_at is None else row[field_at], readers)
                    place, read = places[column], readers[column]
                    windows = found.setdefault(tags, {})
                time, value = row[time_at], read(row[value_at])
                cells = windows.get(time)
                if cells is None:
                    cells = windows[time] = [None] * width
                    for key_place, part in zip(key_places, (times[time], *tags), strict=True):
                        cells[key_place] = part
                # Only maxima come by series, several to a cell.
                if cells[place] is None or value > cells[place]:
                    cells[place] = value
        rows = [tuple(cells) for windows in found.values() for cells in windows.values()]
        return Table(known.columns, sorted(rows, key=itemgetter(*key_places)))

    def windows(self, measurement: str, time_range: TimeRange, *, tier: Tier, tenant: str) -> list[Point]:
        """The points of ``measurement`` by window and series; see :meth:`scrapewatch.ports.SeriesStore.windows`.

        Raises:
            StoreUnavailable: the store does not answer, or not this.

        """
        known = MEASUREMENTS[measurement]
        tags = [tag.name for tag in known.tags]
        stored = fields_in(known, tier)
        types: dict[str, Callable[[str], Any]] = {f.name: _number(f.type) for f in rollup_fields(known)}

        def fields_of(fold: Fold, *, with_maximum: bool = False) -> Pattern:
            # A maximum that is stored in its own right is not made a second time out of the values beside it.
            made = types.keys() - {f.name for f in stored}
            names = (f.name for f in stored if f.fold is fold)
            return _any_of(name for name in names if not with_maximum or f"{name}_max" in made)

        parameters: dict[str, Literal] = {
            "measurement": measurement,
            "columns": ["_time", "_field", "_value", *tags],
            "series": ["_field", *known.tag_names(tier)],
            "sums": fields_of(Fold.SUM),
            "maxima": fields_of(Fold.MAX),
            "means": fields_of(Fold.GAUGE),
            "tops": fields_of(Fold.GAUGE, with_maximum=True),
            "lasts": fields_of(Fold.STATE),
            "worsts": fields_of(Fold.STATE, with_maximum=True),
        }
        file = "windows_of_sessions" if tier is Tier.SESSIONS else "windows"
        answer = self._query(file, parameters, time_range, tier=tier, tenant=tenant)
        points: dict[tuple[Any, ...], dict[str, Any]] = {}
        latest: dict[tuple[Any, ...], int] = {}
        added = {"sums", "means", "tops"} if tier is Tier.SESSIONS else {"sums"}
        for name, header, values in _results(answer):
            tag_at = [header.get(tag) for tag in tags]
            # The time of a last is its own, and its window another column.
            start_at = header["_start" if name == "lasts" else "_time"]
            time_at, value_at, field_at = header["_time"], header["_value"], header["_field"]
            suffix = "_max" if name in ("tops", "worsts") else ""
            for row in values:
                key = (_ns(row[start_at]), *["" if at is None else row[at] for at in tag_at])
                fields = points.setdefault(key, {})
                made = row[field_at] + suffix
                value = types[made](row[value_at])
                before = fields.get(made)
                if name == "lasts":
                    time = _ns(row[time_at])
                    if time < latest.get((*key, made), 0):
                        continue
                    latest[*key, made] = time
                elif before is not None:
                    value = before + value if name in added else max(before, value)
                fields[made] = value
        return [
            Point(
                measurement,
                {tag: text for tag, text in zip(tags, key[1:], strict=True) if text},
                points[key],
                key[0],
            )
            for key in sorted(points)
        ]

    def ready(self) -> str | None:
        """None when every tenant's buckets can be written to (with ``writes=False``: read), or else what is wrong and what to do."""
        now = now_ns()
        last_minute = TimeRange.widened(now - MINUTE, now, MINUTE)
        try:
            for tenant in self._tokens or (DEFAULT_TENANT,):
                for tier in Tier:
                    if not self._writes:
                        self._query("throughput", {"site": ""}, last_minute, tier=tier, tenant=tenant)
                        continue
                    bucket = bucket_name(tenant, tier)
                    # InfluxDB checks the token, the bucket and the right to write before it looks for lines.
                    answer = self._post_lines(tenant, bucket, b"")
                    if not answer.ok:
                        return str(self._server.refusal(answer, what=f'bucket "{bucket}"'))
        except StoreUnavailable as problem:
            return str(problem)
        return None

    def close(self) -> None:
        """Close the connections, also those that somebody waits on: what was not answered is kept, and may be stored all the same."""
        self._closed = True
        self._server.close()
        self._senders.shutdown(cancel_futures=True)

    def _token(self, tenant: str) -> str:
        token = self._token_of_all or self._tokens.get(tenant)
        if self._say_token is not None:
            token = self._say_token(tenant)
        if token is None:
            raise TenantRefused(
                f'there is no InfluxDB token for tenant "{tenant}": {BOOTSTRAP} for that tenant'
            )
        return token

    def _query(
        self,
        file: str,
        parameters: Mapping[str, Literal],
        time_range: TimeRange,
        *,
        tier: Tier,
        tenant: str,
    ) -> bytes:
        bucket = bucket_name(tenant, tier)
        request = {
            "type": "flux",
            "query": _flux(file),
            # Neither types nor defaults: the questions know the types, and the rows are a third shorter.
            "dialect": {"annotations": [], "header": True},
            "extern": extern(
                v={
                    "timeRangeStart": Time(time_range.start),
                    "timeRangeStop": Time(time_range.stop),
                    "windowPeriod": Duration(time_range.every),
                },
                params={"tier": bucket, **parameters},
            ),
        }
        answer = self._server.request(
            "POST",
            "/api/v2/query",
            self._token(tenant),
            query={"org": self._server.org},
            json_body=request,
        )
        if not answer.ok:
            raise _refusal(self._server, answer, bucket)
        return answer.body


def _refusal(server: Server, answer: Answer, bucket: str) -> StoreUnavailable:
    """What it means that a request about ``bucket`` was refused, and whether that is a matter of this bucket and its token alone."""
    refusal = server.refusal(answer, what=f'bucket "{bucket}"')
    if answer.status in (401, 403, 404):
        return TenantRefused(str(refusal), refusal.retry_after)
    return refusal


def _portions(batch: Batch, tally: _Tally) -> Iterator[_Portion]:
    """The lines of ``batch`` in portions for a request each, without those that no request can carry."""
    lines, events = batch.lines, batch.events
    if any(not first.strip() or first == "#" for first in {line[:1] for line in lines}):
        lines, events = _without(batch, lines, events, _silent, tally)
    for start in range(0, len(lines), LINES_A_REQUEST):
        stop = start + LINES_A_REQUEST
        portion = _Portion(batch, lines[start:stop], events[start:stop])
        try:
            yield from _small_enough(portion)
        except UnicodeEncodeError:
            good = _without(batch, portion.lines, portion.events, _no_text, tally)
            yield from _small_enough(_Portion(batch, *good))


def _small_enough(portion: _Portion) -> list[_Portion]:
    """``portion``, or parts of it that each fit a request; a line is never parted.

    Raises:
        UnicodeEncodeError: a line holds half of a surrogate pair.

    """
    if not portion.lines:
        return []
    size = len("\n".join(portion.lines).encode())
    if size <= BYTES_A_REQUEST or len(portion.lines) == 1:
        return [portion]
    return [part for half in portion.halves() for part in _small_enough(half)]


def _without(
    batch: Batch,
    lines: Sequence[str],
    events: Sequence[int],
    reason_against: Callable[[str], str | None],
    tally: _Tally,
) -> tuple[list[str], list[int]]:
    """``lines`` and their ``events`` without those that there is a reason against, which are rejected for it."""
    good: tuple[list[str], list[int]] = ([], [])
    for line, count in zip(lines, events, strict=True):
        reason = reason_against(line)
        if reason is not None:
            tally.reject(batch, line, count, reason)
        else:
            good[0].append(line)
            good[1].append(count)
    return good


def _silent(line: str) -> str | None:
    # Accepted in silence and stored nowhere, its events would be lost.
    silent = not line.strip() or line.lstrip().startswith("#")
    return "a blank line or a comment holds no point" if silent else None


def _no_text(line: str) -> str | None:
    try:
        line.encode()
    except UnicodeEncodeError:
        return "not text: it holds half of a surrogate pair"
    return None


@cache
def _flux(file: str) -> str:
    return (_FLUX / f"{file}.flux").read_text(encoding="utf-8")


def _any_of(names: Iterable[str]) -> Pattern:
    # Names of the registry hold letters, digits and underscores. With none of them the pattern matches no field, for none is empty.
    return Pattern(f"^({'|'.join(names)})$")


def _number(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    return float if kind is float else int


@lru_cache(maxsize=4096)
def _epoch(second: str) -> int:
    return to_ns(datetime.fromisoformat(f"{second}+00:00"))


def _ns(text: str) -> int:
    """Nanoseconds of a time as InfluxDB writes it, exact."""
    match = _TIME_ROW.fullmatch(text)
    if match is None:
        raise StoreUnavailable(f"InfluxDB answered {text[:40]!r} where a time was due")
    return _epoch(match[1]) + (int(match[2].ljust(9, "0")) if match[2] else 0)


class _Times(dict[str, int]):
    """Times as InfluxDB writes them → nanoseconds: there are few, and most come many times."""

    def __missing__(self, text: str) -> int:
        found = self[text] = _ns(text)
        return found


def _column(result: str, field: str | None, columns: Container[str]) -> str:
    """The one of ``columns`` that a value of ``field`` in ``result`` belongs to."""
    if field is None:
        return result
    if field == "count" and result in columns:
        return result
    return field if field in columns else field.removesuffix("_max")


def _results(body: bytes) -> Iterator[tuple[str, dict[str, int], Iterator[list[str]]]]:
    """The tables of an answer in CSV: name of the result, column → position, rows.

    Raises:
        StoreUnavailable: the answer ends in an error. InfluxDB says so in a table, since the status is long sent.

    """
    text = body.decode()
    # Quotes are rare, and without them lines are parted in half the time.
    reader: Iterator[list[str]] = (
        csv.reader(io.StringIO(text, newline=""))
        if '"' in text
        else (line.split(",") if line else [] for line in text.split("\r\n"))
    )
    for head in reader:
        if not head:
            continue
        if head[:1] == ["error"] or head[1:2] == ["error"]:
            raise StoreUnavailable(f"InfluxDB broke off its answer: {' '.join(next(reader, []))[:500]}")
        header = {name: place for place, name in enumerate(head)}
        first = next(reader, None)
        if first:
            yield first[header["result"]], header, _until_blank(first, reader)


def _until_blank(first: list[str], reader: Iterator[list[str]]) -> Iterator[list[str]]:
    yield first
    for row in reader:
        if not row:
            return
        yield row
