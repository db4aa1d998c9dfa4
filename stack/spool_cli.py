"""``scrapewatch spool``: what waits in a collector's spool, and what to do about it, whether the collector runs or not.

A spool that is held is only looked into; what is to be done is marked in it, and the collector that holds it does it. One that nobody
holds is taken for the length of the command, and brought to the stores of the settings as a collector would, without HTTP.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from collector.spool_file import FORMAT, holder, looking_into
from collector.spool_view import (
    Backlog,
    DeadLetter,
    SpoolStatus,
    backlog_of,
    letters_of,
    newest_letters,
    status_of,
    want_letters,
)
from scrapewatch import settings
from scrapewatch.access import READ
from scrapewatch.problems import ConfigurationError, InvalidInput, StoreUnavailable
from scrapewatch.settings import Settings
from scrapewatch.time import to_rfc3339
from stack.logs import set_up_logs
from stack.parts import url_of
from stack.terminal import INTERRUPTED, DataOption, bar, ending_by_ctrl_c, err, out, printable

if TYPE_CHECKING:
    from collector.forward import Forwarder
    from scrapewatch.ports import RecordStore, SeriesStore

spool_commands = typer.Typer()

_LOOK_EVERY: Final = 0.25
_PATIENCE: Final = 1.0
"""Seconds without a move after which it is asked what holds it up."""

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", min=0.0, help="Seconds after which to give up; by default never.")
]


@spool_commands.command()
def status(as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """Show what was accepted, what became of it, and what waits for which store."""
    chosen = _settings(data_dir)
    folder = _folder(chosen)
    with looking_into(folder) as found:
        figures, backlog = status_of(found), backlog_of(found)
    held_by = holder(folder)
    if as_json:
        more = {"folder": str(folder), "format": FORMAT, "held_by": held_by}
        _print_json({**more, **asdict(figures), **asdict(backlog), "max_bytes": chosen.spool_max_bytes})
        return
    out.print(_figures(chosen, held_by, figures, backlog))


@spool_commands.command("dead-letters")
def dead_letters(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
    data_dir: DataOption = None,
) -> None:
    """List the points that a store rejected for good, each with the reason."""
    with looking_into(_folder(_settings(data_dir))) as found:
        letters, backlog = newest_letters(found, limit), backlog_of(found)
    if as_json:
        _print_json([_as_json(item) for item in letters])
        return
    if not letters:
        out.print("There are no dead letters.")
        return
    out.print(_letters(letters))
    if backlog.dead_letters > len(letters):
        out.print(f"… and {backlog.dead_letters - len(letters):,} older ones: --limit shows more")
    out.print("Once the cause is mended, `scrapewatch spool replay` sends them again.", highlight=False)


@spool_commands.command()
def drain(timeout: TimeoutOption = None, as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """Wait until all that is spooled now is in the stores; where no collector runs, bring it there."""
    chosen = _settings(data_dir)
    with looking_into(_folder(chosen)) as found:
        began = status_of(found)
        with _at_work(chosen, timeout, needed=began.spooled > 0) as work:
            done = work.until(
                lambda: _drained(status_of(found), began), "storing events", total=began.spooled
            )
        left = began.spooled - _drained(status_of(found), began)
    why = None if done else work.why
    if as_json:
        _print_json({"drained": began.spooled - left, "left": left, "held_up_by": why})
    elif done:
        out.print(f"{began.spooled:,} events were brought to the stores; none of them waits any more.")
    else:
        err.print(Text(f"{left:,} events wait still{'' if why is None else f': {why}'}"))
    raise typer.Exit(work.exit_status(done))


def _drained(now: SpoolStatus, began: SpoolStatus) -> int:
    """How many of the events that were spooled when it began are no more: flushes are freed in their order, but for what is held."""
    gone = now.delivered + now.dead_lettered - began.delivered - began.dead_lettered
    return min(max(gone, 0), max(began.spooled - sum(now.held.values()), 0))


@spool_commands.command()
def replay(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]…", help="Of dead letters.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
    data_dir: DataOption = None,
) -> None:
    """Send dead letters again, under their old stamps: what is stored counts as delivered, what is rejected again stays.

    The records had their events at once, and do not change.
    """
    if every == bool(ids):
        raise InvalidInput("say which dead letters to send again: their ids, or --all")
    chosen = _settings(data_dir)
    with looking_into(_folder(chosen), marks=True) as found:
        asked = _want(found, None if every else sorted(set(ids or ())))
        if not asked:
            out.print(
                json.dumps({"stored": 0, "refused": [], "waiting": 0}) if as_json else "There are none."
            )
            return
        with _at_work(chosen, timeout, replays=True) as work:
            done = work.until(
                lambda: len(asked) - sum(item.wanted for item in letters_of(found, asked)),
                "sending dead letters",
                total=len(asked),
            )
        left = letters_of(found, asked)
    refused = [item for item in left if not item.wanted]
    waiting = len(left) - len(refused)
    if as_json:
        _print_json(
            {
                "stored": len(asked) - len(left),
                "refused": [_as_json(item) for item in refused],
                "waiting": waiting,
                "held_up_by": None if done else work.why,
            }
        )
    else:
        out.print(
            f"{len(asked) - len(left):,} stored, {len(refused):,} rejected again, {waiting:,} wait still"
        )
        if refused:
            out.print(_letters(refused[:20]))
        if waiting:
            why = "" if work.why is None else f" ({work.why})"
            err.print(Text(f"what waits is sent by the next collector on this spool{why}"))
    raise typer.Exit(work.exit_status(done and not refused))


def _want(spool: sqlite3.Connection, ids: Sequence[int] | None) -> frozenset[int]:
    """Mark dead letters to be sent again; their ids.

    Raises:
        InvalidInput: one of them is not there; none is marked then.
    """
    spool.execute("BEGIN IMMEDIATE")
    try:
        there = {number for (number,) in spool.execute("SELECT id FROM dead_letters")}
        missing = [str(number) for number in ids or () if number not in there]
        if missing:
            raise InvalidInput(
                f"there is no dead letter {', '.join(missing)}; `scrapewatch spool dead-letters` lists them"
            )
        want_letters(spool, ids)
    except BaseException:
        spool.execute("ROLLBACK")
        raise
    spool.execute("COMMIT")
    return frozenset(there if ids is None else ids)


# --- the work, done by the collector that holds the spool or by ourselves


class _Work:
    """Something that is under way until it is done, its time is over or somebody presses Ctrl-C.

    ``ask_why`` is asked, on a thread, where nothing moves: ``why`` is its last answer, what holds it up. ``check`` raises where nobody
    works on it any more.
    """

    def __init__(
        self,
        timeout: float | None,
        ask_why: Callable[[], str | None],
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._ask_why = ask_why
        self._check = check
        self._interrupted = False
        self.why: str | None = None

    def until(self, done: Callable[[], int], what: str, *, total: int) -> bool:
        """Wait until ``done`` says ``total``, with a bar; whether it did.

        Raises:
            ConfigurationError: nobody works on it any more.
        """
        try:
            with ending_by_ctrl_c(), bar(MofNCompleteColumn()) as shown:
                task = shown.add_task(what, total=total)
                moved = time.monotonic()
                asking: threading.Thread | None = None
                last = -1
                while (now := done()) < total:
                    if now > last:
                        last, moved, self.why = now, time.monotonic(), None
                    elif time.monotonic() - moved > _PATIENCE and (asking is None or not asking.is_alive()):
                        self._check()
                        asking = threading.Thread(target=self._ask, daemon=True)
                        asking.start()
                    said = what if self.why is None else _short(what, self.why)
                    shown.update(task, completed=now, description=said)
                    if self._deadline is not None and time.monotonic() >= self._deadline:
                        return False
                    time.sleep(_LOOK_EVERY)
                shown.update(task, completed=total, description=what)
        except KeyboardInterrupt:
            err.print("\ninterrupted: what is not in the stores yet stays in the spool", highlight=False)
            self._interrupted = True
            return False
        return True

    def _ask(self) -> None:
        self.why = self._ask_why()

    def exit_status(self, well: bool) -> int:
        """0 where all went ``well``."""
        return INTERRUPTED if self._interrupted else int(not well)


@contextlib.contextmanager
def _at_work(
    chosen: Settings, timeout: float | None, *, needed: bool = True, replays: bool = False
) -> Iterator[_Work]:
    """Somebody works on the spool for the length of the block: who holds it, or else we; nobody where nothing is to do."""
    folder = _folder(chosen)
    held_by = holder(folder)
    if held_by is not None:
        err.print(f"process {held_by} holds the spool: watching what it does", highlight=False)
        yield _Work(timeout, lambda: _said(chosen), lambda: _must_be_held(folder))
    elif not needed:
        yield _Work(timeout, lambda: None)
    else:
        with _forwarding(chosen, replays=replays) as ask_why:
            yield _Work(timeout, ask_why)


def _must_be_held(folder: Path) -> None:
    """Raises :class:`ConfigurationError` where nobody holds the spool any more."""
    if holder(folder) is None:
        raise ConfigurationError(
            "the collector that held the spool has ended: start it again, or give this command again, to go on"
        )


def _said(chosen: Settings) -> str | None:
    """What the collector says is wrong, where it is at the address of the settings."""
    import urllib3

    from stack.access import key_for

    try:
        url = f"{url_of(chosen.host, chosen.port)}/readyz"
        key = key_for(url, chosen, READ)
        headers = {"Authorization": f"Bearer {key}"} if key else None
        answer = urllib3.request("GET", url, headers=headers, timeout=5.0, retries=False)
        detail = answer.json().get("detail") if answer.status == 503 else None
    except (urllib3.exceptions.HTTPError, ValueError, AttributeError, StoreUnavailable):
        return None
    return None if detail is None else f"the collector says: {detail}"


@contextlib.contextmanager
def _forwarding(chosen: Settings, *, replays: bool) -> Iterator[Callable[[], str | None]]:
    """Bring what is in the spool to the stores of the settings; yields what asks them what holds it up."""
    from collector.forward import Forwarder
    from collector.outbox import Outbox
    from collector.periodic import Periodic
    from collector.spool import Spool
    from stack.stores import open_records, open_series

    _must_be_the_stores(chosen)
    with contextlib.ExitStack() as open_now:
        spool = Spool(_folder(chosen))
        open_now.callback(spool.close)
        series = open_series(chosen)
        open_now.callback(series.close)
        records = open_records(chosen)
        open_now.callback(records.close)
        outbox = Outbox(_folder(chosen), spool)
        open_now.callback(outbox.close)
        forwarder = Forwarder(
            outbox,
            series,
            records,
            collector_no=records.lease_collector(spool.id),
            interval=0.05,
            retention_days=chosen.metrics_retention_days,
        )
        forwarder.start()
        open_now.callback(forwarder.stop)
        if replays:
            replaying = Periodic("replay", _LOOK_EVERY, forwarder.replay)
            replaying.start()
            open_now.callback(replaying.stop)
        if chosen.influx_url is not None:
            open_now.callback(series.close)  # first of all: nobody waits for one that hangs
        err.print("no collector holds the spool: bringing it to the stores", highlight=False)
        yield lambda: _held_up(forwarder, series, records)


def _must_be_the_stores(chosen: Settings) -> None:
    """Refuse to make new stores: what waits in a spool belongs to those that its collector writes to.

    Raises:
        ConfigurationError: a store would be made.
    """
    for given, file, name in (
        (chosen.influx_url, "series.duckdb", "SCRAPEWATCH_INFLUX_URL"),
        (chosen.database_url, "records.sqlite", "SCRAPEWATCH_DATABASE_URL"),
    ):
        if given is None and not (chosen.data_dir / file).exists():
            raise ConfigurationError(
                f"{name} is not set, and there is no embedded store in {chosen.data_dir}: "
                "run this with the settings of the collector whose spool it is"
            )


def _held_up(forwarder: Forwarder, series: SeriesStore, records: RecordStore) -> str | None:
    for state in (forwarder.series_state, forwarder.records_state, forwarder.windows_state):
        if state.problem is not None:
            return state.problem
    return forwarder.fault or series.ready() or records.ready()


# --- shown


def _figures(chosen: Settings, held_by: str | None, figures: SpoolStatus, backlog: Backlog) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    waits = ", ".join(f"{flushes} for {_NAMES[name]}" for name, flushes in backlog.waiting.items() if flushes)
    age = f"oldest {_length(figures.oldest_age)}" if figures.spooled else ""
    letters = f"{backlog.dead_letters:,} letters" + (
        f", {backlog.wanted:,} to be sent again" if backlog.wanted else ""
    )
    rows = [
        ("accepted", f"{figures.accepted:,}", "events"),
        ("delivered", f"{figures.delivered:,}", "in both stores"),
        ("spooled", f"{figures.spooled:,}", age),
        ("dead-lettered", f"{figures.dead_lettered:,}", letters if backlog.dead_letters else ""),
        ("flushes", f"{figures.flushes_pending:,}", f"wait: {waits}" if waits else ""),
        ("not cut yet", f"{backlog.uncut:,}", "events"),
        ("damaged", f"{backlog.damaged:,}", "events, put aside and counted as dead-lettered"),
        ("size", _size(figures.size_bytes), f"of {_size(chosen.spool_max_bytes)}"),
        ("held by", "nobody" if held_by is None else held_by, "" if held_by is None else "process"),
    ]
    for row in rows:
        if row[0] != "damaged" or backlog.damaged:
            table.add_row(*row)
    return table


_NAMES: Final = {"series": "the store of points", "records": "the records", "windows": "their rollups"}


def _letters(letters: Sequence[DeadLetter]) -> Table:
    table = Table(show_lines=True)
    for name, more in (("id", {}), ("since", {}), ("tier", {}), ("events", {"justify": "right"})):
        table.add_column(name, no_wrap=True, **more)  # type: ignore[arg-type]
    table.add_column("reason, and the point", overflow="fold")
    for item in letters:
        table.add_row(
            f"{item.id}{' ↻' if item.wanted else ''}",
            to_rfc3339(item.at)[:19].replace("T", " "),
            Text(printable(f"{item.letter.tenant}/{item.letter.tier}")),
            f"{item.letter.events:,}",
            Text(f"{printable(item.letter.reason)}\n{printable(item.letter.line)}"),
        )
    return table


def _as_json(item: DeadLetter) -> dict[str, Any]:
    return {
        "id": item.id,
        "flush": item.flush,
        "tenant": item.letter.tenant,
        "tier": item.letter.tier,
        "events": item.letter.events,
        "reason": item.letter.reason,
        "at": to_rfc3339(item.at),
        "wanted": item.wanted,
        "line": item.letter.line,
    }


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found, indent=2))


def _short(what: str, why: str) -> str:
    why = printable(why)
    return f"{what} – held up: {why if len(why) <= 100 else why[:99] + '…'}".replace("[", "\\[")


def _length(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


# --- settings


def _settings(data_dir: Path | None) -> Settings:
    chosen = settings.load(data_dir=data_dir)
    # What keeps it waiting is told beside the bar.
    set_up_logs(chosen.model_copy(update={"log_level": "ERROR"}))
    return chosen


def _folder(chosen: Settings) -> Path:
    return chosen.data_dir / "spool"
