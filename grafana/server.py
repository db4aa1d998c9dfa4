"""One Grafana over HTTP: requests that end in time, and refusals said in words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import urllib3

from scrapewatch import __version__
from scrapewatch.problems import ConfigurationError, NotFound, StoreUnavailable

OLDEST: Final = (9, 4)
"""The oldest version that the dashboards are made for."""

_MAKE_A_TOKEN: Final = "make one in Grafana under Administration, Service accounts"  # noqa: S105  # advice
_CONNECT_SECONDS: Final = 3.0
_READ_SECONDS: Final = 30.0


class Server:
    """The Grafana at ``url``, asked as the service account of ``token``, or as the user of ``login`` (name and password).

    Raises:
        ConfigurationError: ``url`` is no HTTP URL, or ``token`` cannot be one.

    """

    def __init__(self, url: str, *, token: str | None = None, login: tuple[str, str] | None = None) -> None:
        try:
            parsed = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError:
            parsed = urllib3.util.Url()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigurationError("GRAFANA_URL is no HTTP URL: write one such as http://127.0.0.1:3000")
        # Without the user and password that a URL may carry: it stands in messages.
        self.name = f"{parsed.scheme}://{parsed.netloc}{(parsed.path or '').rstrip('/')}"
        self._shown = "GRAFANA_TOKEN" if login is None else f"the password of {login[0]}"
        self._headers = {"Accept": "application/json", "User-Agent": f"scrapewatch/{__version__}"}
        if login is not None:
            self._headers["Authorization"] = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
        elif token is not None:
            if not token or not token.isascii() or not token.isprintable() or " " in token:
                raise ConfigurationError(f"GRAFANA_TOKEN is empty or no token: {_MAKE_A_TOKEN}")
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        )

    def version(self) -> str | None:
        """Its version, such as ``9.4.3``; None where it keeps that to itself.

        Raises:
            ConfigurationError: it is no Grafana, or one older than :data:`OLDEST`.
            StoreUnavailable: nothing answers.

        """
        health = self.get("/api/health")
        if not isinstance(health, dict) or "database" not in health:
            raise ConfigurationError(f"what answers at {self.name} is no Grafana: check GRAFANA_URL")
        version = str(health.get("version") or "")
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None:
            return None
        if (int(numbers[1]), int(numbers[2])) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise ConfigurationError(
                f"Grafana at {self.name} is version {version}: the dashboards need {oldest} or newer"
            )
        return version

    def get(self, path: str, **query: str | int) -> Any:
        """What is at ``path``; None where there is nothing.

        Raises:
            ConfigurationError, StoreUnavailable: as :meth:`send`.

        """
        try:
            return self.send("GET", path + (f"?{urlencode(query)}" if query else ""))
        except NotFound:
            return None

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of its answer to one request, tried once.

        Raises:
            ConfigurationError: it does not know who asks, does not allow it, or takes the request for wrong.
            NotFound: there is no such thing.
            StoreUnavailable: no answer came in time, or it cannot answer now.

        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._pool.request(
                method,
                self.name + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"Grafana at {self.name} {_failure(error)}") from error
        try:
            found = json.loads(answer.data) if answer.data else None
        except ValueError:
            found = None
            if 200 <= answer.status < 300:
                raise ConfigurationError(
                    f"what answers at {self.name} is no Grafana: check GRAFANA_URL"
                ) from None
        if 200 <= answer.status < 300:
            return found
        raise self._refusal(answer, found, f"{method} {path.partition('?')[0]}")

    def _refusal(
        self, answer: urllib3.BaseHTTPResponse, found: Any, what: str
    ) -> ConfigurationError | NotFound | StoreUnavailable:
        said = _said(found)
        # To a token that was deleted Grafana 9.4 says this with a 500.
        status = 401 if said.lower() == ": invalid api key" else answer.status
        match status:
            case 401:
                return ConfigurationError(
                    f"Grafana at {self.name} does not know {self._shown}: {_MAKE_A_TOKEN}"
                    if self._shown == "GRAFANA_TOKEN"
                    else f"Grafana at {self.name} does not take {self._shown}"
                )
            case 403:
                return ConfigurationError(
                    f"Grafana at {self.name} does not let the owner of {self._shown} do {what}{said}. Dashboards and their folder "
                    "need the role Editor, data sources and the home page Admin"
                )
            case 404:
                return NotFound(f"Grafana at {self.name} has nothing for {what}{said}")
            case _ if 300 <= status < 400:
                return ConfigurationError(
                    f"{self.name} leads elsewhere, to {answer.headers.get('Location', '?')[:200]}: check GRAFANA_URL"
                )
            case _ if status == 429 or status >= 500:
                return StoreUnavailable(f"Grafana at {self.name} cannot do {what} now (HTTP {status}){said}")
            case _:
                return ConfigurationError(f"Grafana at {self.name} refused {what} (HTTP {status}){said}")


def _said(found: Any) -> str:
    """Its own words on a refusal, on one line."""
    message = found.get("message") if isinstance(found, dict) else None
    text = " ".join(str(message or "").split())[:500]
    text = "".join(char for char in text if char.isprintable())
    return f": {text}" if text else ""


def _failure(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "cannot be found: no such host; check GRAFANA_URL"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "does not take connections: is it running, and GRAFANA_URL right?"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "does not answer in time: is GRAFANA_URL right?"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"does not speak TLS that can be trusted: {error}"
    return f"broke off: {type(error).__name__}"
