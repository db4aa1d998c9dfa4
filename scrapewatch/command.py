"""The command ``scrapewatch``: one door to all.

Where the servers are (a checkout, the image) it opens :mod:`stack.cli`. In the published package alone it offers the client's half,
and says where the servers are.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from scrapewatch import __version__
from scrapewatch.client import Client, SendError

_ELSEWHERE = "up, collector, grafana, demo, keys and all others need the servers: run them from a checkout of scrapewatch or its image"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    with contextlib.suppress(ValueError):  # called from a thread: then signals are somebody else's business
        # The first process of a container would not be ended by the signal's default, and a stack is to be ended with its threads.
        signal.signal(signal.SIGTERM, _end)
    if importlib.util.find_spec("stack") is not None:
        try:
            return int(importlib.import_module("stack.cli").main(arguments))
        except KeyboardInterrupt:  # Ctrl-C while it is still being loaded, which takes a second or two
            return 130
    return client_half(sys.argv[1:] if arguments is None else arguments)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def client_half(arguments: Sequence[str]) -> int:
    """What works with the published package alone: sending events."""
    parser = argparse.ArgumentParser(
        "scrapewatch", description="The client's half of scrapewatch.", epilog=_ELSEWHERE
    )
    parser.add_argument("--version", action="version", version=f"scrapewatch {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    sending = commands.add_parser(
        "send", help="send events as JSON, a list or one a line, from standard input"
    )
    sending.add_argument("--url", default="http://127.0.0.1:8000", help="the collector")
    sending.add_argument("--backfill", action="store_true", help="the events are history, older than 7 days")
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands.choices:
        print(f"scrapewatch: {_ELSEWHERE}", file=sys.stderr)
        return 2
    given = parser.parse_args(arguments)
    return send(given.url, sys.stdin.read(), backfill=given.backfill)


def send(url: str, text: str, *, backfill: bool) -> int:
    """Send the events in ``text`` and print the receipt; returns an exit status."""
    try:
        events = _events(text)
        receipt = Client(url, api_key=_api_key()).send(events, backfill=backfill)
    except (ValueError, SendError, ConnectionError) as error:
        print(f"scrapewatch: {error}", file=sys.stderr)
        return 1
    print(
        json.dumps(
            {"accepted": receipt.accepted, "duplicates": receipt.duplicates, "rejected": receipt.rejected}
        )
    )
    return 1 if receipt.rejected else 0


def _api_key() -> str | None:
    """The key of the environment, as the settings of the servers have it: not an option, which every user of a machine can read."""
    path = os.environ.get("SCRAPEWATCH_API_KEY_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"SCRAPEWATCH_API_KEY_FILE cannot be read: {error.strerror}") from error
    return os.environ.get("SCRAPEWATCH_API_KEY")


def _events(text: str) -> list[dict[str, object]]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    events = found if isinstance(found, list) else [found]
    if not events:
        raise ValueError("there is no event on standard input")
    return events


if __name__ == "__main__":
    sys.exit(main())
