"""Exports in the making: encoders run step by step in threads, so that whoever reads sets the pace, and may leave."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from api.exports.formats import Format
from api.exports.tables import ExportReader, ExportTable, Rows, Selection
from api.patience import Patience
from scrapewatch.time import to_datetime

STEP_SECONDS: Final = 60.0
"""How long one step may take: it reads some windows or a page. Parquet is made of all rows in one."""

_FOLDER: Final = "exports"
_UNFINISHED: Final = ".unfinished"


class Steps:
    """Pieces of ``pieces``, one a call, from whichever thread; closed in time also while a call is under way."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._turn = threading.Lock()
        self._over = False

    def step(self) -> bytes | None:
        """The next piece, which may be empty; None at the end, and once it was closed."""
        try:
            with self._turn:
                return None if self._over else next(self._pieces, None)
        finally:
            if self._over:  # it was closed meanwhile, by somebody who did not wait
                self.close()

    def close(self) -> None:
        """Let go of files and places in queries: now, or at the end of the step that is under way."""
        self._over = True
        if self._turn.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._turn.release()

    def _end(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


class ExportMaker:
    """Makes exports of what ``reader`` reads, with temporary files in a folder below ``data_dir``."""

    def __init__(self, reader: ExportReader, data_dir: Path, patience: Patience) -> None:
        self._reader = reader
        self._data_dir = data_dir
        self._patience = patience

    @property
    def folder(self) -> Path:
        """Where exports that are repeated are written to."""
        return self._data_dir / _FOLDER

    async def pieces(self, made: Format, selection: Selection) -> AsyncGenerator[bytes]:
        """The export, piece by piece. The first one, which may be empty, comes once each store that is needed has answered.

        Raises:
            InvalidInput: the format does not take what is selected.
            StoreUnavailable: a store does not answer, or not in time.
        """
        steps = Steps(self._encoded(made, selection))
        first = True
        try:
            while (piece := await self._patience.call(steps.step)) is not None:
                if piece or first:
                    first = False
                    yield piece
        finally:
            steps.close()

    async def write(self, made: Format, selection: Selection, path: Path) -> int:
        """Write the export to ``path``, which is there whole or not at all; its size in bytes.

        Raises:
            InvalidInput: the format does not take what is selected.
            OSError: the disk does not take it.
            StoreUnavailable: a store does not answer, or not in time.
        """
        unfinished = path.with_name(path.name + _UNFINISHED)
        size = 0
        try:
            await self._patience.call(path.parent.mkdir, parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                async with aclosing(self.pieces(made, selection)) as pieces:
                    async for piece in pieces:
                        size += await self._patience.call(file.write, piece)
                await self._patience.call(_to_disk, file)
            await self._patience.call(unfinished.replace, path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        return size

    def _encoded(self, made: Format, selection: Selection) -> Iterator[bytes]:
        begun: dict[ExportTable, Iterator[Rows]] = {}
        for figures in (True, False):
            for table in [table for table in selection.tables if table.figures is figures][:1]:
                rows = self._reader.read(table, selection)
                begun[table] = chain([next(rows)], rows)

        def read(table: ExportTable) -> Iterator[Rows]:
            return begun.pop(table, None) or self._reader.read(table, selection)

        yield from made.encode(selection, read, self._scratch())

    def _scratch(self) -> Path:
        """Where temporary files may be: an API may have a data folder that it cannot write to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return Path(tempfile.gettempdir())
        return self.folder


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def compact(ns: int) -> str:
    """``ns`` as names of files have it: ``20260105T100000Z``."""
    return f"{to_datetime(ns):%Y%m%dT%H%M%SZ}"


def file_name(name: str, made: Format, selection: Selection) -> str:
    """The name of an export's file: what it is, from when and until when in UTC."""
    return f"{name}-{compact(selection.start)}-{compact(selection.stop)}.{made.extension}"
