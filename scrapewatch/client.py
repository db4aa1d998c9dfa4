"""The client: sends events to a collector with nothing but the standard library.

Importing it pulls in no server part and no pydantic.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

    Each of ``rejected`` has ``index`` (in what was sent), ``field`` and ``reason``.
    """

    accepted: int
    duplicates: int
    rejected: Sequence[Mapping[str, Any]] = ()


class Client:
    """Sends events by HTTP, again and again until they are durable.

    Args:
        url: base URL of the collector, such as ``http://127.0.0.1:8000``.
        api_key: sent as ``Authorization: Bearer``; none needed on loopback.
        timeout: seconds that one try may take.
        give_up_after: seconds after which a send that never got through raises.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 15.0,
        give_up_after: float = 60.0,
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
        self._sleep = sleep

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
                    return _receipt(answer.read())
            except urllib.error.HTTPError as error:
                detail = error.read().decode("utf-8", "replace")
                if error.code not in (429, 500, 502, 503, 504):
                    raise SendError(error.code, detail) from error
                reason = f"it answered {error.code}"
                wait = float(error.headers.get("Retry-After") or 0)
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                reason, wait = str(getattr(error, "reason", error)), 0.0
            wait = max(wait, random.uniform(0, pause))
            pause = min(pause * 2, 10.0)
            if time.monotonic() + wait > deadline:
                raise ConnectionError(f"the collector at {self._url} took nothing: {reason}") from None
            self._sleep(wait)


def _receipt(body: bytes) -> Receipt:
    answer = json.loads(body)
    return Receipt(answer["accepted"], answer["duplicates"], answer.get("rejected", ()))
