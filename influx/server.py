"""One InfluxDB 2 over HTTP: requests that end in time, and refusals said in words."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import urllib3

from scrapewatch.problems import ConfigurationError, StoreUnavailable

BOOTSTRAP = "run `python -m influx bootstrap`"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: status, body and headers of one request."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        """InfluxDB's own code of an error; empty where something else on the way answered."""
        return str(self.json().get("code", ""))

    @property
    def message(self) -> str:
        """The reason of a refusal, on one line."""
        text = str(self.json().get("message") or self.body[:500].decode(errors="replace"))
        return " ".join(text.split())

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, whether it named a number or a date."""
        text = self.headers.get("Retry-After", "").strip()
        try:
            return max(0.0, float(text)) if text else None
        except ValueError:
            pass
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())


class Server:
    """An InfluxDB at ``url``, with its connections; may be used from any thread, and closed from any while others wait in it.

    Time-outs are seconds: ``connect_timeout`` for the connection, ``read_timeout`` for each wait for bytes.

    Raises:
        ConfigurationError: ``url`` is not an HTTP URL.

    """

    def __init__(
        self, url: str, org: str, *, connect_timeout: float = 3.0, read_timeout: float = 10.0
    ) -> None:
        try:
            parsed = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError:
            parsed = urllib3.util.Url()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigurationError("INFLUX_URL is not an HTTP URL: write one such as http://127.0.0.1:8086")
        self._base = url.rstrip("/")
        self.org = org
        # Without the user and password that a URL may carry: it stands in messages.
        self.name = f"{parsed.scheme}://{parsed.netloc}"
        self._lines = _Lines()
        self._pool = urllib3.PoolManager(
            maxsize=8,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
        )
        self._pool.pool_classes_by_scheme = self._lines.pools()

    def request(
        self,
        method: str,
        path: str,
        token: str | None = None,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        json_body: Any = None,
    ) -> Answer:
        """One request, tried once.

        Raises:
            StoreUnavailable: no answer came in time.

        """
        if self._lines.cut:
            raise StoreUnavailable(f"InfluxDB at {self.name} is asked no more: this process is ending")
        headers = {"Accept": "application/json, text/csv"}
        if token is not None:
            headers["Authorization"] = f"Token {token}"
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers["Content-Type"] = "application/json"
        target = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._pool.request(method, target, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"InfluxDB at {self.name} {_failure(error)}") from error
        return Answer(answer.status, answer.data, answer.headers)

    def refusal(self, answer: Answer, *, what: str) -> StoreUnavailable:
        """What a refused request means, and what to do; ``what`` names what was asked for and of whom."""
        match answer.status:
            case 401:
                said = f"does not know the token for {what}: check INFLUX_TOKEN, or {BOOTSTRAP} and use its tokens"
            case 403:
                said = f"does not let the token reach {what}: {BOOTSTRAP} and use its tokens"
            case 400 if "organization" in answer.message:
                said = f'has no organisation "{self.org}": check INFLUX_ORG'
            case 404:
                said = f"has no {what} ({answer.message}): check INFLUX_ORG, or {BOOTSTRAP}"
            case 429 | 503:
                said = f"is too busy for {what} (HTTP {answer.status}): {answer.message or 'no reason given'}"
            case _:
                said = f"failed at {what} with HTTP {answer.status}: {answer.message or 'no reason given'}"
        return StoreUnavailable(f"InfluxDB at {self.name} {said}", answer.retry_after)

    def close(self) -> None:
        """Close the connections; who waits for an answer gets none, at once."""
        self._lines.end()
        self._pool.clear()


class _Lines:
    """The connections that are open: a pool forgets those in use, and nobody should wait for a server that hangs when all else ends."""

    def __init__(self) -> None:
        self.cut = False
        self._open: weakref.WeakSet[urllib3.connection.HTTPConnection] = weakref.WeakSet()
        self._lock = threading.Lock()

    def pools(self) -> dict[str, type[urllib3.HTTPConnectionPool]]:
        """The pools of a manager, of connections that are noted here."""
        note = self._note

        class Plain(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                note(self)

        class Secure(urllib3.connection.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                note(self)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        return {"http": PlainPool, "https": SecurePool}

    def _note(self, connection: urllib3.connection.HTTPConnection) -> None:
        with self._lock:
            self._open.add(connection)
            if self.cut:
                _hang_up(connection)

    def end(self) -> None:
        """Hang up, now and on every connection to come."""
        with self._lock:
            self.cut = True
            for connection in self._open:
                _hang_up(connection)


def _hang_up(connection: urllib3.connection.HTTPConnection) -> None:
    line = connection.sock
    if line is not None:
        with contextlib.suppress(OSError):  # it was closed by the other side
            # Of the socket below TLS: who waits in it must not be disturbed by more than the end of the line.
            socket.socket.shutdown(line, socket.SHUT_RDWR)


def _failure(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "cannot be found: no such host; check INFLUX_URL"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "does not take connections: is it running, and INFLUX_URL right?"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "does not answer: the connection timed out; is INFLUX_URL right?"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "hangs: no answer within the time-out; look at its log and its disk"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"does not speak TLS that can be trusted: {error}"
    return f"broke off: {type(error).__name__}"


def usable_token(token: str) -> str:
    """``token`` as it can stand in a header.

    Raises:
        ConfigurationError: it cannot. Its text is not in the message.

    """
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            "INFLUX_TOKEN is empty or no token: it must be printable ASCII without line breaks"
        )
    return token
