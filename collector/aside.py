"""Forwarding in a process of its own: folding takes the interpreter for long, and no ack shall wait for its turn.

Two ends of a socket. On this one the collector notes in its spool what the other says has become of it (:mod:`collector.notes`), one note
after the other; the other reads the spool by itself, and does what :class:`~collector.forwarding.ForwardingHere` does. Whatever happens to
the other, nothing is lost and nothing counts twice, just as after a crash of both: what it sends was noted first. So it is simply started
again, and where it does not end in time, killed. It ends by itself once this end is gone.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from collector.contributions import Announced
from collector.forwarding import Announce, ForwardingHere, Plan, State
from collector.notes import Ledger, Note
from collector.observed import Observed, Timed
from collector.outbox import Outbox
from scrapewatch.ports import RecordStore, SeriesStore
from scrapewatch.problems import SpoolFull

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_WELL_AFTER: Final = 60.0

_TELL_EVERY: Final = 0.25
_LOOK_EVERY: Final = 0.05
_SILENT_FOR: Final = 30.0
_STOPS_WITHIN: Final = 1.0


class Noting(msgspec.Struct, tag=True, frozen=True):
    """To the collector: write ``note``, and answer with ``number``."""

    number: int
    note: Note


class Telling(msgspec.Struct, tag=True, frozen=True):
    """To the collector: the state, and the timings since the last time it was told, by name."""

    state: State
    timings: dict[str, Timed]


class Announcing(msgspec.Struct, tag=True, frozen=True):
    """To the collector: sessions said which process they are, or finished."""

    announced: list[Announced]


class Noted(msgspec.Struct, tag=True, frozen=True):
    """To forwarding: the note ``number`` is durable, or why it is not."""

    number: int
    problem: str | None


class Arrived(msgspec.Struct, tag=True, frozen=True):
    """To forwarding: there is something new in the spool."""


class Stop(msgspec.Struct, tag=True, frozen=True):
    """To forwarding: end, after trying for ``drain_for`` seconds to bring everything to the stores."""

    drain_for: float


_encode = msgspec.msgpack.Encoder().encode
_to_collector = msgspec.msgpack.Decoder(Noting | Telling | Announcing)
_to_forwarding = msgspec.msgpack.Decoder(Noted | Arrived | Stop)


class Command(NamedTuple):
    """Starts the other end: ``words``, to which the number of its socket is added, where it reads ``hello`` before anything else.

    ``environment`` is its own.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    hello: bytes


class ForwardingAside:
    """The collector's end.

    Args:
        command: starts the other end.
        plan: what forwarding must know.
        ledger: the spool.
        observed: takes how long things took.
        announced: told of the processes of sessions.
    """

    def __init__(
        self,
        command: Command,
        plan: Plan,
        ledger: Ledger,
        *,
        observed: Observed,
        announced: Announce,
    ) -> None:
        self._command = command
        self._plan = plan
        self._ledger = ledger
        self._observed = observed
        self._announced = announced
        self._state = State({}, [], 0)
        self._sending = threading.Lock()
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._poked = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="aside", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, drain_for: float = 0.0) -> None:
        """End, after trying for up to ``drain_for`` seconds to bring everything to the stores."""
        with self._sending:
            self._stopping.set()
        self._send(Stop(drain_for))
        self._thread.join(drain_for + _STOPS_WITHIN)
        if self._thread.is_alive():
            with self._sending:
                if self._process is not None:
                    self._process.kill()
            self._thread.join()

    def arrived(self) -> None:
        """There is something new in the spool: said once until something is noted, since whoever cuts goes on until all is cut."""
        if not self._poked:
            self._poked = True
            self._send(Arrived())

    def state(self) -> State:
        """How it fares, as of a moment ago."""
        return self._state

    def _send(self, message: Noted | Arrived | Stop) -> None:
        with self._sending:
            if self._connection is not None:
                try:
                    self._connection.send_bytes(_encode(message))
                except OSError:
                    log.debug("forwarding is gone", told=type(message).__name__)

    def _keep_up(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                why = self._run()
            except Exception as error:  # no memory for another process, say; the next time there may be
                log.exception("forwarding failed")
                why = f"{type(error).__name__}: {error}"
            if self._stopping.is_set():
                return
            log.error("the process that forwards is started again", why=why)
            before = self._state
            self._state = State(
                before.sinks, [f"forwarding: its process {why}, and is started again"], before.rolled
            )
            pause = _FIRST_PAUSE if time.monotonic() - began > _WELL_AFTER else min(pause * 2, _LONGEST_PAUSE)
            self._stopping.wait(pause)

    def _run(self) -> str:
        """Have it forward until it ends; why it did."""
        ours, theirs = Pipe()
        with ours:
            with theirs, self._sending:
                if self._stopping.is_set():
                    return ""
                process = self._process = subprocess.Popen(  # noqa: S603 - words of ours
                    [*self._command.words, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=self._command.environment,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the collector
                )
                self._connection = ours
                self._poked = False
            answers = False
            try:
                with self._sending:
                    ours.send_bytes(self._command.hello)
                    ours.send_bytes(_encode(self._plan))
                answers = self._serve(ours)
            finally:
                with self._sending:
                    self._connection = None
                if not answers:
                    process.kill()
        code = process.wait()
        with self._sending:
            self._process = None
        return f"ended ({code})" if answers else "did not answer"

    def _serve(self, connection: Connection) -> bool:
        """Do what the other end says until it is gone; False: it fell silent."""
        while True:
            try:
                # Twice: the first may have run out while this process itself was suspended.
                if not (connection.poll(_SILENT_FOR) or connection.poll(_SILENT_FOR)):
                    return False
                message = _to_collector.decode(connection.recv_bytes())
            except (EOFError, OSError):
                return True
            match message:
                case Noting(number, note):
                    problem = None
                    try:
                        self._ledger.note(note)
                    except Exception as error:  # whatever it was, the other end must not wait for ever
                        problem = str(error)
                    self._poked = False
                    self._send(Noted(number, problem))
                case Telling(state, timings):
                    self._state = state
                    ours = self._observed.timings()
                    for name, timed in timings.items():
                        ours[name].add_all(timed)
                case Announcing(announced):
                    self._announced(announced)


class _Far(Ledger):
    """The spool, as seen from the other end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._number = 0
        self._waiting: dict[int, tuple[threading.Event, list[str | None]]] = {}

    def send(self, message: Noting | Telling | Announcing) -> None:
        with self._sending:
            self._connection.send_bytes(_encode(message))

    def note(self, note: Note) -> None:
        """Returns once ``note`` is durable.

        Raises:
            SpoolFull: it cannot be written now.
        """
        done, answer = threading.Event(), list[str | None]()
        with self._sending:
            self._number += 1
            number = self._number
            self._waiting[number] = done, answer
            self._connection.send_bytes(_encode(Noting(number, note)))
        done.wait()
        if answer[0] is not None:
            raise SpoolFull(answer[0])

    def noted(self, message: Noted) -> None:
        done, answer = self._waiting.pop(message.number)
        answer.append(message.problem)
        done.set()


def forward_aside(connection: Connection, open_stores: Callable[[], tuple[SeriesStore, RecordStore]]) -> None:
    """The other end: forwards until it is told to stop, or the collector is gone.

    Raises:
        ConfigurationError: the stores cannot be opened.
    """
    plan = msgspec.msgpack.decode(connection.recv_bytes(), type=Plan)
    far = _Far(connection)
    observed = Observed()
    outbox = Outbox(Path(plan.folder), far)
    series, records = open_stores()
    forwarding = ForwardingHere(
        outbox,
        series,
        records,
        plan,
        observed=observed,
        announced=lambda found: far.send(Announcing(list(found))),
    )
    forwarding.start()
    stopped = threading.Event()
    threading.Thread(target=_tell, args=(far, forwarding, observed, stopped), daemon=True).start()

    def stop(drain_for: float) -> None:
        forwarding.stop(drain_for=drain_for)
        stopped.set()

    look_for = None
    while not stopped.is_set():
        try:
            if not connection.poll(look_for):
                continue
            message = _to_forwarding.decode(connection.recv_bytes())
        except (EOFError, OSError):
            return
        match message:
            case Noted():
                far.noted(message)
            case Arrived():
                forwarding.arrived()
            case Stop(drain_for):
                look_for = _LOOK_EVERY
                threading.Thread(target=stop, args=(drain_for,), daemon=True).start()


def _tell(far: _Far, forwarding: ForwardingHere, observed: Observed, stopped: threading.Event) -> None:
    """Tell the collector again and again how forwarding fares; by that it also knows that it lives."""
    before = {name: timing.snapshot() for name, timing in observed.timings().items()}
    while not stopped.wait(_TELL_EVERY):
        timings: dict[str, Timed] = {}
        for name, timing in observed.timings().items():
            now = timing.snapshot()
            if now.count > before[name].count:
                timings[name] = now.since(before[name], highest=timing.take_recent())
                before[name] = now
        state = msgspec.structs.replace(forwarding.state(), cpu_seconds=time.process_time())
        try:
            far.send(Telling(state, timings))
        except OSError:  # the collector is gone
            return
