"""The stores that the settings name: InfluxDB and PostgreSQL by URL, or else the embedded ones in the data folder."""

from __future__ import annotations

from pathlib import Path

from records.migrate import upgrade
from records.store import SqlRecords
from scrapewatch.ports import SeriesStore
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

    token = settings.influx_token.get_secret_value()
    return InfluxStore(settings.influx_url, settings.influx_org, token, writes=writes)


def tenant_problem(settings: Settings, tenant: str) -> str | None:
    """What the store of points lacks for ``tenant``, and what to do; None when it can be written to."""
    return None


def records_url(settings: Settings) -> str:
    """The SQLAlchemy URL of the records."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    _make(settings.data_dir)
    return f"sqlite:///{Path(settings.data_dir).absolute() / 'records.sqlite'}"


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
