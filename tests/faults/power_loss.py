"""What a disk holds after the power failed, rebuilt from a trace of what the process wrote and synced.

``strace`` tells each write to a file of the data folder, each ``fsync`` and ``fdatasync``, and each answer sent. A write is safe once a
sync of its file, begun after the write had ended, has ended. Of the others any may have reached the disk, whole or in sectors.
Names of files are taken to be as safe as what was synced last: journalling file systems write them with the file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECTOR: Final = 512

CALLS: Final = (
    "openat,write,writev,pwrite64,pwritev,pwritev2,lseek,fsync,fdatasync,ftruncate,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,sendto,sendmsg"
)


def tracer(trace: Path) -> tuple[str, ...]:
    """The command that runs another one and writes what it does to ``trace``."""
    # Strings in hexadecimal and never cut short; descriptors with the path or socket behind them.
    shown = ("-y", "-xx", "-s", "100000000", "-ttt", "-qq", "-e", "signal=none")
    return ("strace", "-f", "--seccomp-bpf", *shown, "-e", f"trace={CALLS}", "-o", str(trace), "--")


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An answer 202 as it was handed to the system: ``index`` in the trace, when (seconds since 1970), and to which request."""

    index: int
    at: float
    key: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a file's bytes: ``data`` at ``offset``, or the ``size`` it is cut to. It began at ``index``."""

    index: int
    at: float
    offset: int = 0
    data: bytes = b""
    size: int | None = None

    def apply(self, to: bytearray) -> None:
        """Do it."""
        if self.size is not None:
            if self.size < len(to):
                del to[self.size :]
            else:
                to.extend(bytes(self.size - len(to)))
            return
        if self.offset > len(to):
            to.extend(bytes(self.offset - len(to)))
        to[self.offset : self.offset + len(self.data)] = self.data

    def torn(self, chance: random.Random) -> Iterator[Change]:
        """The sectors of it that reached the disk, by chance."""
        if self.size is not None:
            yield self
            return
        for start in range(0, len(self.data), SECTOR):
            if chance.random() < 0.5:
                yield Change(self.index, self.at, self.offset + start, self.data[start : start + SECTOR])


Survivors = Callable[[Sequence[Change]], Sequence[Change]]
"""Which of the changes that were not synced reached the disk all the same."""


def none(_: Sequence[Change]) -> Sequence[Change]:
    """No change that was not synced reached the disk."""
    return ()


def some(chance: random.Random) -> Survivors:
    """Any of them, whole."""
    return lambda changes: [change for change in changes if chance.random() < 0.5]


def all_but_the_first(changes: Sequence[Change]) -> Sequence[Change]:
    """The later ones without the one they build on."""
    return changes[1:]


def torn(chance: random.Random) -> Survivors:
    """Some sectors of each."""
    return lambda changes: [sector for change in changes for sector in change.torn(chance)]


@dataclass(slots=True)
class File:
    """A file: what is ``safe``, and what was written since (``pending``: change, index at which the call ended)."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[Change, int]] = field(default_factory=list)

    def sync(self, began: int) -> None:
        """A sync that began there has ended."""
        while self.pending and self.pending[0][1] < began:
            self.pending.pop(0)[0].apply(self.safe)

    def after_power_loss(self, survivors: Survivors) -> bytes:
        """What it may hold."""
        found = bytearray(self.safe)
        for change in survivors([change for change, _ in self.pending]):
            change.apply(found)
        return bytes(found)


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync of ``file``, from ``began`` to ``ended`` (indices); ``covers`` the time of the latest change that it made safe."""

    file: str
    began: int
    ended: int
    covers: float


@dataclass(frozen=True, slots=True)
class _Call:
    """A system call: ``began`` and ``ended`` are indices in the trace, ``at`` the time when it began.

    ``strings`` are its arguments that are text or bytes, ``rest`` what stands behind the last of them; ``path`` is that of its descriptor.
    """

    name: str
    descriptor: int
    path: str
    strings: Sequence[bytes]
    rest: str
    result: int
    began: int
    ended: int
    at: float


_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(-?\d+)<((?:\\x[0-9a-f]{2})*)")
_KEY = re.compile(rb"^x-request-id: ?(\S+)", re.IGNORECASE | re.MULTILINE)
_ACCEPTED = b"HTTP/1.1 202"
_UNFINISHED = " <unfinished ...>"


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


class Trace:
    """What a traced process did to the files of ``folder``, and which requests it accepted."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.folder = str(folder.resolve()) + "/"
        self.calls = list(_calls(path, self.folder))


class Disk:
    """The files of a trace's folder as it goes on, and what was seen on the way: :attr:`acks` and :attr:`syncs`."""

    def __init__(self, trace: Trace) -> None:
        self.files: dict[str, File] = {}
        self.acks: list[Acknowledgement] = []
        self.syncs: list[Sync] = []
        self._trace = trace
        self._places: dict[int, int] = {}

    def play(self) -> Iterator[Acknowledgement]:
        """Go through the trace, and stop at each 202: the power may fail right then."""
        for call in self._trace.calls:
            if not call.path.startswith(self._trace.folder) and call.name.startswith(("send", "write")):
                sent = b"".join(call.strings)
                if sent.startswith(_ACCEPTED):
                    key = _KEY.search(sent)
                    assert key is not None, sent[:300]
                    self.acks.append(Acknowledgement(call.began, call.at, key[1].decode()))
                    yield self.acks[-1]
            elif call.result >= 0:
                self._apply(call)

    def image(self, folder: Path, survivors: Survivors) -> None:
        """Write what the disk may hold now to ``folder``."""
        for name, file in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.after_power_loss(survivors))

    def _name(self, path: str | bytes) -> str | None:
        path = path if isinstance(path, str) else path.decode()
        # SQLite's index of its log lives in memory and is made anew.
        known = path.startswith(self._trace.folder) and not path.endswith("-shm")
        return path.removeprefix(self._trace.folder) if known else None

    def _apply(self, call: _Call) -> None:
        if call.name == "openat":
            name = self._name(call.strings[-1])
            if name is not None and "O_CREAT" in call.rest:
                self.files.setdefault(name, File())
            if name in self.files:
                self._places[call.result] = 0
                if "O_TRUNC" in call.rest:
                    self.files[name].pending.append((Change(call.began, call.at, size=0), call.ended))
        elif call.name.startswith("rename"):
            before, after = (self._name(path) for path in call.strings[-2:])
            if before in self.files and after is not None:
                self.files[after] = self.files.pop(before)
        elif call.name.startswith("unlink"):
            self.files.pop(self._name(call.strings[-1]) or "", None)
        elif (name := self._name(call.path)) in self.files:
            self._change(call, name, self.files[name])

    def _change(self, call: _Call, name: str, file: File) -> None:
        match call.name:
            case "fsync" | "fdatasync":
                before = [change.at for change, ended in file.pending if ended < call.began]
                file.sync(call.began)
                self.syncs.append(Sync(name, call.began, call.ended, max(before, default=0.0)))
            case "ftruncate":
                size = int(call.rest.rpartition(",")[2])
                file.pending.append((Change(call.began, call.at, size=size), call.ended))
            case "lseek":
                self._places[call.descriptor] = call.result
            case "write" | "writev":
                place = self._places.get(call.descriptor, 0)
                self._places[call.descriptor] = place + call.result
                self._write(file, call, place)
            case "pwrite64" | "pwritev" | "pwritev2":
                ending = call.rest.rsplit(", ", 2 if call.name == "pwritev2" else 1)
                self._write(file, call, int(ending[1]))
            case _:
                raise AssertionError(f"the simulation does not know {call.name}")

    def _write(self, file: File, call: _Call, offset: int) -> None:
        data = b"".join(call.strings)[: call.result]
        file.pending.append((Change(call.began, call.at, offset, data), call.ended))


def _calls(path: Path, folder: str) -> Iterator[_Call]:
    """The calls that matter, each at the place where it counts.

    A send may have reached the client from its beginning on; a sync helps only from its end on; and a write too is put where it ended,
    since no sync may count on it before.
    """
    on_files, accepting = _hex(folder.encode()), _hex(_ACCEPTED)
    begun: dict[str, tuple[str, int, float]] = {}
    with path.open(encoding="ascii", errors="replace") as lines:
        for index, line in enumerate(lines):
            thread, at, text = line.rstrip("\n").split(None, 2)
            if text.startswith("<... "):
                if thread in begun:
                    start, began, since = begun.pop(thread)
                    yield _call(start + text.partition(" resumed>")[2], began, index, since)
            elif accepting in text:
                yield _call(text.removesuffix(_UNFINISHED), index, index, float(at))
            elif on_files in text:
                if text.endswith(_UNFINISHED):
                    begun[thread] = (text.removesuffix(_UNFINISHED), index, float(at))
                else:
                    yield _call(text, index, index, float(at))


def _call(text: str, began: int, ended: int, at: float) -> _Call:
    name, _, text = text.partition("(")
    arguments, _, result = text.rpartition(" = ")
    digits = result.split("<")[0].split(" ")[0]
    found = _DESCRIPTOR.match(text)
    return _Call(
        name,
        int(found[1]) if found else -1,
        _unhex(found[2]).decode(errors="replace") if found else "",
        [_unhex(string) for string in _STRING.findall(text)],
        arguments.rpartition('"')[2].rstrip().removesuffix(")"),
        int(digits) if digits.lstrip("-").isdigit() else -1,
        began,
        ended,
        at,
    )
