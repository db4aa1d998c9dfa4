"""The stores that the settings name: InfluxDB and PostgreSQL by URL, or else the embedded ones in the data folder."""

from __future__ import annotations

from pathlib import Path

from records.migrate import upgrade
from records.store import SqlRecords
from scrapewatch.ports import DEFAULT_TENANT, SeriesStore
from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import Settings


def open_series(settings: Settings, *, writes: bool = True) -> SeriesStore:
    """The store of points; with ``writes=False`` a token that may only read InfluxDB is enough.

    Raises:
        ConfigurationError: InfluxDB is named without its token, or the embedded store's file is held by another process,
            or the data folder cannot be made.
    """
    if settings.influx_url is None:
        from embedded.store import EmbeddedStore  # with DuckDB and numpy, which the other store does without

        _make(settings.data_dir)
        return EmbeddedStore(
            settings.data_dir / "series.duckdb", retention_days=settings.metrics_retention_days
        )
    if settings.influx_token is None:
        raise ConfigurationError(
            "SCRAPEWATCH_INFLUX_URL is set but SCRAPEWATCH_INFLUX_TOKEN is not: "
            "`python -m influx bootstrap` makes one and says where it is"
        )
    from influx.store import InfluxStore

    tokens = _InfluxTokens(settings, writes=writes)
    return InfluxStore(settings.influx_url, settings.influx_org, tokens, writes=writes)


class _InfluxTokens:
    """The token of each tenant: that of the settings for ``default``, and for the others the files of the bootstrap.

    They are read each time: a tenant may come, and its token be replaced, while this runs.
    """

    def __init__(self, settings: Settings, *, writes: bool) -> None:
        self._settings = settings
        self._writes = writes
        assert settings.influx_token is not None, "it was demanded before"  # noqa: S101
        self._default = settings.influx_token.get_secret_value()

    def __call__(self, tenant: str) -> str | None:
        """Its token; None where there is none that can be used."""
        from influx.server import usable_token

        if tenant == DEFAULT_TENANT:
            return usable_token(self._default)
        try:
            text = _token_file(self._settings, tenant, writes=self._writes).read_text(encoding="utf-8")
            return usable_token(text)
        except (OSError, ConfigurationError):
            return None


def _token_file(settings: Settings, tenant: str, *, writes: bool) -> Path:
    from influx.bootstrap import COLLECTOR, READER, token_file

    return token_file(_tokens_dir(settings), tenant, COLLECTOR if writes else READER)


def _tokens_dir(settings: Settings) -> Path:
    return settings.influx_tokens_dir or settings.data_dir / "secrets"


def tenant_problem(settings: Settings, writes: bool | None, tenant: str) -> str | None:
    """What the store of points lacks for ``tenant``, and what to do; None where it may have keys.

    ``writes`` says whether this process writes points, or only reads them; None: either will do.
    A tenant without a bucket would not only lose nothing and see nothing: what is sent for it would wait, and hold up the others.
    """
    if settings.influx_url is None or tenant == DEFAULT_TENANT:
        return None
    wanted = (True, False) if writes is None else (writes,)
    if any(_token_file(settings, tenant, writes=each).is_file() for each in wanted):
        return None
    folder = _tokens_dir(settings)
    return (
        f"has no token for InfluxDB in {folder} (SCRAPEWATCH_INFLUX_TOKENS_DIR): "
        f"`python -m influx bootstrap --tenant {tenant}` makes its buckets and tokens"
    )


def records_url(settings: Settings) -> str:
    """The SQLAlchemy URL of the records."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    _make(settings.data_dir)
    return f"sqlite:///{_records_file(settings)}"


def has_records(settings: Settings) -> bool:
    """Whether there may be records already: a database that is named, or the file in the data folder."""
    return settings.database_url is not None or _records_file(settings).is_file()


def _records_file(settings: Settings) -> Path:
    return Path(settings.data_dir).absolute() / "records.sqlite"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be the data folder: {error.strerror}; name another with --data-dir or SCRAPEWATCH_DATA_DIR"
        ) from error


def open_records(settings: Settings) -> SqlRecords:
    """The records, their tables brought up to date.

    Raises:
        ConfigurationError: the URL is none of a database that is known.
        StoreUnavailable: the database does not answer.
    """
    records = SqlRecords(records_url(settings))
    upgrade(records.engine)
    return records
