"""The settings: environment variables, a ``.env`` file, and secrets in files.

Every name has the prefix ``SCRAPEWATCH_``; the names in :data:`BARE` are also read without it. Any may be given as ``<NAME>_FILE``,
the path of a file that holds the value. A name that is not known is reported with the nearest one that is.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from scrapewatch.problems import ConfigurationError

PREFIX = "SCRAPEWATCH_"

BARE = frozenset(
    {
        "DASHBOARD_ENABLED",
        "METRICS_RETENTION_DAYS",
        "ALERT_CHANNELS",
        "WEBSOCKET_MAX_CONNECTIONS",
        "REAL_TIME_UPDATE_INTERVAL",
        "INFLUX_URL",
        "INFLUX_TOKEN",
        "INFLUX_ORG",
        "DATABASE_URL",
        "REDIS_URL",
        "GRAFANA_URL",
        "GRAFANA_TOKEN",
    }
)
"""Settings that are also read without the prefix; with both given, the prefixed one counts."""


def _comma_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(
        re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", each)
        for each in values
    ):
        raise ValueError(
            "an origin is written as browsers do, such as https://app.example.com, without a path"
        )
    return values


Origins = Annotated[Names, AfterValidator(_origins)]


def probes_of(given: Iterable[str]) -> dict[str, str]:
    """The URL to probe of each site, of texts ``site=URL``.

    Raises:
        ValueError: one is not of that form.
    """
    found = {}
    for text in given:
        site, equals, url = text.partition("=")
        if not (site.strip() and equals and url.strip().startswith(("http://", "https://"))):
            raise ValueError("each is site=URL, such as indeed=https://www.indeed.com/")
        found[site.strip()] = url.strip()
    return found


def _probes(given: tuple[str, ...]) -> tuple[str, ...]:
    probes_of(given)
    return given


class Settings(BaseModel):
    """What can be set. Durations in seconds, sizes in bytes unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(
        Path("data"), description="Folder of the spool, the embedded stores and the SQLite file."
    )
    host: str = Field("127.0.0.1", description="Address that the server binds to.")
    port: int = Field(8000, ge=1, le=65535, description="Port that the server binds to.")
    trust_network: bool = Field(
        False,
        description="Allow a bind to an address other than loopback although no API key was made, and take everybody who gets there for "
        "the administrator until one is: only where the network itself keeps strangers out, such as a private container network.",
    )
    allowed_hosts: Names = Field(
        ("localhost", "127.0.0.1", "::1"),
        description="Values of the Host header (and hosts of Origin) accepted, by commas.",
    )
    cors_origins: Origins = Field(
        (),
        description="Origins whose pages may ask the API with a key or token of their own, by commas, such as https://app.example.com.",
    )
    api_key: SecretStr | None = Field(
        None,
        description="Key that `scrapewatch send`, `import` and `ask` show to a stack elsewhere; on its own machine they need none.",
    )
    key_requests_per_minute: int = Field(
        600,
        ge=0,
        description="Requests a minute to the API with one key or token, beyond which 429; 0 is no limit.",
    )
    tenant_requests_per_minute: int = Field(
        3_000,
        ge=0,
        description="Requests a minute to the API of one tenant, beyond which 429; 0 is no limit.",
    )
    address_requests_per_minute: int = Field(
        1_200,
        ge=0,
        description="Requests a minute to the API from one address, beyond which 429; 0 is no limit.",
    )
    oauth_issuer: str | None = Field(
        None, description="Issuer (`iss`) whose bearer tokens (JWT) are taken, too; none means our own alone."
    )
    oauth_audience: str | None = Field(
        None, description="Audience (`aud`) that tokens of that issuer must be for."
    )
    oauth_jwks_url: str | None = Field(
        None,
        description="URL of the keys (JWKS) of that issuer; none means /.well-known/jwks.json below OAUTH_ISSUER.",
    )
    oauth_tenant_claim: str = Field(
        "tenant", description="Claim of such a token that names the tenant; one without it is refused."
    )
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level of log lines."
    )
    log_format: str = Field(
        "console", pattern="^(console|json)$", description="console for people, json for machines."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OpenTelemetry receiver (OTLP over HTTP, such as http://127.0.0.1:4318) that traces are sent to. "
        "OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT does as well; with neither there are none.",
    )

    influx_url: str | None = Field(None, description="URL of InfluxDB 2; none means the embedded store.")
    influx_token: SecretStr | None = Field(
        None, description="Token that writes and reads the buckets of the tenant `default`."
    )
    influx_tokens_dir: Path | None = Field(
        None,
        description="Folder of the tokens that `python -m influx bootstrap` made for tenants other than `default`; none means secrets in "
        "DATA_DIR.",
    )
    influx_org: str = Field("scrapewatch", description="Organisation in InfluxDB.")
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of the records, such as postgresql://user@host/name; none means SQLite in data_dir.",
    )
    redis_url: SecretStr | None = Field(None, description="URL of Redis for the live hub across processes.")
    grafana_url: str | None = Field(None, description="URL of Grafana, for links and health.")
    grafana_public_url: str | None = Field(
        None, description="URL of Grafana as browsers reach it, where that is another than GRAFANA_URL."
    )
    grafana_token: SecretStr | None = Field(
        None,
        description="Token of a service account of Grafana. The collector pushes what happens now with it (Viewer is enough); "
        "`scrapewatch grafana sync` makes dashboards (Editor) and data sources (Admin).",
    )
    grafana_dashboards: Path | None = Field(
        None, description="Folder of the dashboards that Grafana gets; none means those of this checkout."
    )
    grafana_influx_url: str | None = Field(
        None, description="URL of InfluxDB as Grafana reaches it; none means INFLUX_URL."
    )
    grafana_influx_bucket: str = Field(
        "fleet",
        description="The bucket by which Grafana's data source knows its tenant: fleet, or acme.fleet for the tenant acme.",
    )
    grafana_influx_token: SecretStr | None = Field(
        None,
        description="Token of Grafana's data source: the one that may only read, which `python -m influx bootstrap` writes to "
        "reader.token.",
    )
    grafana_database_host: str | None = Field(
        None, description="Host and port of PostgreSQL as Grafana reaches it, such as db.example.com:5432."
    )
    grafana_database_name: str = Field("scrapewatch", description="Its database of the records.")
    grafana_database_user: str = Field("grafana", description="Its role that may only read.")
    grafana_database_password: SecretStr | None = Field(None, description="The password of that role.")
    grafana_database_sslmode: str = Field(
        "require",
        pattern="^(disable|require|verify-ca|verify-full)$",
        description="Whether Grafana speaks TLS to PostgreSQL: disable only where the network between them is your own.",
    )
    collector_url: str | None = Field(
        None, description="URL of the collector, where the API runs in a process of its own."
    )

    dashboard_enabled: bool = Field(True, description="Serve the live page at /.")
    metrics_retention_days: int = Field(
        90,
        ge=1,
        le=3650,
        description="Days that points of sessions, one-minute rollups and what others write as line protocol are kept.",
    )
    alert_channels: Names = Field(
        (), description="Channels that alerts go to, by commas: email, slack, telegram."
    )
    websocket_max_connections: int = Field(
        100, ge=1, le=100_000, description="Clients that listen at once: WebSockets and streams of events."
    )
    real_time_update_interval: float = Field(
        5.0,
        ge=0.1,
        le=3600,
        description="Seconds between system metrics on a WebSocket; up to eight times as many while the machine has enough to do.",
    )

    currency: str = Field(
        "USD",
        pattern="^[A-Z]{3}$",
        description="Currency of what proxies say they cost and of competitors' prices, as an ISO 4217 code.",
    )
    competitor_prices: Names = Field(
        (),
        description="Competitors and their prices for 1,000 results to compare the own cost with, by commas: someone:4.50, another:9. "
        "None are built in.",
    )

    stall_after: float = Field(
        600.0, gt=0, description="Seconds without an event after which a session is stalled."
    )
    abandon_after: float = Field(
        21_600.0, gt=0, description="Seconds without an event after which a session is closed as failed."
    )
    flush_interval: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Seconds between flushes to the stores, and less once nothing more comes.",
    )
    forwarding_process: bool = Field(
        True,
        description="Make and send flushes in a process of its own where InfluxDB is used and there is more than one processor, so that "
        "acknowledgements do not wait for it. Without it the collector takes about 100 MB less.",
    )
    sample_interval: float = Field(
        30.0,
        ge=0.1,
        le=3600,
        description="Longest time between samples of the machine, s, while it is idle; while it is busy or its figures move they come "
        "each second. Below a second it is the fixed time between them. To have none, see sampler.",
    )
    sampler: bool = Field(
        True,
        description="Sample the machine that the collector runs on and the processes of its sessions, and report on the collector itself.",
    )
    check_interval: float = Field(
        15.0, ge=0.5, le=3600, description="Seconds between checks of the services."
    )
    site_probes: Annotated[Names, AfterValidator(_probes)] = Field(
        (),
        description="Sites to probe while no scraper visits them, by commas as site=URL: the head of that page is asked for, as "
        "robots.txt allows. None by default: sites are judged by the scrapers' traffic.",
    )
    site_probe_interval: float = Field(
        900.0, ge=60, le=86_400, description="Seconds between probes of a site, about."
    )
    max_body_bytes: int = Field(10_000_000, ge=1_000, description="Largest body of a request, uncompressed.")
    max_events: int = Field(10_000, ge=1, description="Most events in a request.")
    bodies_max_bytes: int = Field(
        64_000_000,
        ge=1_000_000,
        description="Bodies of requests in memory at once, in a collector. Who does not fit waits up to 5 seconds, then gets 503.",
    )
    tenant_bodies_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of bodies_max_bytes that one tenant may hold, so that others find room at once; beyond it 429.",
    )
    tenant_events_per_second: int = Field(
        0,
        ge=0,
        description="Events a second of one tenant, on average over 10 seconds, beyond which its requests get 429; 0 is no limit.",
    )
    max_tag_values: int = Field(
        10_000,
        ge=10,
        description="Different values of one tag (site, proxy, name of a figure, …) that a tenant may use within a day or two.",
    )
    max_sessions: int = Field(
        200_000, ge=10, description="Different sessions that a tenant may report of within a day or two."
    )
    max_external_series: int = Field(
        100_000,
        ge=10,
        description="Different series (a measurement with its tags) that a tenant may write as line protocol within a day or two; of their "
        "fields it may have max_tag_values.",
    )
    spool_max_bytes: int = Field(
        4_000_000_000, ge=1_000_000, description="Size of the spool beyond which requests get 503."
    )
    spool_min_free_bytes: int = Field(
        200_000_000, ge=0, description="Free disk space below which requests get 503."
    )


def _read(name: str, environment: Mapping[str, str]) -> str | None:
    if name in environment:
        return environment[name]
    path = environment.get(f"{name}_FILE")
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"{name}_FILE names {path}, which cannot be read: {error.strerror}"
        ) from error


def load_dotenv(path: Path) -> dict[str, str]:
    """The ``NAME=value`` lines of ``path``; nothing where there is no such file. Quotes around a value are taken off.

    Raises:
        ConfigurationError: a line is not of that form.
    """
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"{path} line {number} is not NAME=value")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings of ``environment`` (default: the process' own over ``.env`` in this folder); ``overrides`` win.

    Raises:
        ConfigurationError: a name is unknown, or a value cannot be used; says which and what to do.
    """
    if environment is None:
        environment = {**load_dotenv(Path(".env")), **os.environ}
    names = {name.upper(): name for name in Settings.model_fields}
    for given in environment:
        if given.startswith(PREFIX):
            own = given.removeprefix(PREFIX).removesuffix("_FILE")
            if own not in names:
                near = difflib.get_close_matches(own, names, n=1)
                hint = f"; did you mean {PREFIX}{near[0]}?" if near else "; docs/settings.md lists them all"
                raise ConfigurationError(f"{given} is no setting of scrapewatch{hint}")
    values: dict[str, Any] = {}
    for upper, name in names.items():
        value = _read(PREFIX + upper, environment)
        if value is None and upper in BARE:
            value = _read(upper, environment)
        if value is not None and value != "":
            values[name] = value
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "?"
        said = first["msg"]
        if first["type"] == "string_pattern_mismatch":
            said = f"must be one of {first['ctx']['pattern'].strip('^()$').replace('|', ', ')}"
        raise ConfigurationError(f"{PREFIX}{name}: {said}") from error
