"""The client: sends events to a collector with nothing but the standard library.

Importing it pulls in no server part and no pydantic.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATH = "/api/v1/monitoring/metrics"


class SendError(Exception):
    """The collector refused events for good: ``status`` is the HTTP status, ``detail`` its problem body."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the collector answered {status}: {detail}")
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the collector made durable: counts of events ``accepted`` and ``duplicates``, and the items ``rejected``.

    Each of ``rejected`` has ``index`` (in what was sent), ``field`` and ``reason``. ``wishes`` (session id → ``pause``, ``resume`` or
    ``cancel``) are what users wish for the sessions of these events.
    """

    accepted: int
    duplicates: int
    rejected: Sequence[Mapping[str, Any]] = ()
    wishes: Mapping[str, str] = field(default_factory=dict)


class Client:
    """Sends events by HTTP, again and again until they are durable.

    Args:
        url: base URL of the collector, such as ``http://127.0.0.1:8000``.
        api_key: sent as ``Authorization: Bearer``; on loopback none is needed until the first key was made.
        timeout: seconds that one try may take.
        give_up_after: seconds after which a send that never got through raises.
        on_wish: called with a session id and what users wish for it (``pause``, ``resume``, ``cancel``), once for each new wish, by
            :meth:`send` in its thread once the events are durable. The scraper answers by sending ``session_paused``,
            ``session_resumed`` or ``session_finished``.

    ``wishes`` (session id → wish) are those that the scraper has not answered yet, as of the last events of each session.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 15.0,
        give_up_after: float = 60.0,
        on_wish: Callable[[str, str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("the URL of a collector begins with http:// or https://")
        self._url = url.rstrip("/") + PATH
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        self._give_up_after = give_up_after
        self._on_wish = on_wish
        self._sleep = sleep
        self.wishes: dict[str, str] = {}

    def send(
        self,
        events: Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Send ``events`` and wait until they are durable.

        The same key goes with every try, so an answer that was lost on the way costs nothing: the events count once.

        Raises:
            SendError: the collector refused them (409: that key was used with another body).
            ConnectionError: no collector took them within ``give_up_after``.
        """
        body = json.dumps(list(events), separators=(",", ":")).encode()
        headers = {**self._headers, "Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        url = self._url + ("?backfill=true" if backfill else "")
        deadline = time.monotonic() + self._give_up_after
        pause = 0.1
        while True:
            wait: float
            try:
                request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
                    receipt = _receipt(answer.status, answer.read())
                break
            except urllib.error.HTTPError as error:
                detail = _detail(error)
                if error.code not in (408, 429, 500, 502, 503, 504):
                    raise SendError(error.code, detail) from error
                reason = f"it answered {error.code}"
                wait = _seconds(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:
                # What broke off in the middle of an answer, too.
                reason, wait = str(getattr(error, "reason", error)), 0.0
            wait = max(wait, random.uniform(0, pause))
            pause = min(pause * 2, 10.0)
            if time.monotonic() + wait > deadline:
                raise ConnectionError(f"the collector at {self._url} took nothing: {reason}") from None
            self._sleep(wait)
        self._heed({str(event.get("session_id")) for event in events}, receipt.wishes)
        return receipt

    def _heed(self, sessions: set[str], wishes: Mapping[str, str]) -> None:
        """Keep the ``wishes`` for ``sessions``, and tell of those that are new."""
        for session_id in sorted(sessions):
            wish = wishes.get(session_id)
            before = self.wishes.pop(session_id, None)
            if wish is None:
                continue
            self.wishes[session_id] = wish
            if wish != before and self._on_wish is not None:
                self._on_wish(session_id, wish)


def _receipt(status: int, body: bytes) -> Receipt:
    try:
        answer = json.loads(body)
        accepted, duplicates = answer["accepted"], answer["duplicates"]
        wishes = {each["session_id"]: each["wish"] for each in answer.get("wishes", ())}
        return Receipt(accepted, duplicates, answer.get("rejected", ()), wishes)
    except (ValueError, TypeError, KeyError):
        raise SendError(status, "with no receipt; is that the URL of a collector?") from None


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return error.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""


def _seconds(retry_after: str | None) -> float:
    """``Retry-After`` in seconds; a date, which proxies may send, counts as none: the pauses grow by themselves."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
