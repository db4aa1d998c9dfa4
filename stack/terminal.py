"""What the commands share at the terminal: where they write, bars for long work, texts of strangers made harmless."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C where it ends something before its end."""

DataOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the spool and the embedded stores.")
]


@contextlib.contextmanager
def ending_by_ctrl_c() -> Iterator[None]:
    """Ctrl-C raises :class:`KeyboardInterrupt` in the block, once: while that is cleaned up after, another one ends the process."""

    def first(_: int, __: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is first:
            signal.signal(signal.SIGINT, before)


def bar(*columns: Any) -> Progress:
    """A bar on standard error; on no terminal only its end is written."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=err,
        transient=not err.is_terminal,
    )


def plain(text: object) -> str:
    """``text`` for Rich as it is: square brackets are no markup."""
    return str(text).replace("[", "\\[")


def printable(text: str) -> str:
    """``text`` on one line, without what would move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
