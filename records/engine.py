"""Engines, transactions, and one way for a database to be unavailable.

Every transaction goes through :func:`reading` or :func:`writing`: they turn what a driver raises when the database is down, full, locked
or too slow into :class:`~scrapewatch.problems.StoreUnavailable`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from scrapewatch.problems import ConfigurationError, StoreUnavailable

BUSY_SECONDS = 10
"""How long a writer waits for another; for SQLite the URL may say otherwise: ``?timeout=2``."""

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
"""How long PostgreSQL may take to connect, and over one statement."""

_JSON: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}


def make_engine(url: str, *, connections: int = 10) -> Engine:
    """An engine on SQLite or PostgreSQL (always by psycopg 3) that keeps so many connections; nothing connects before it is used.

    Raises:
        ConfigurationError: ``url`` is none that the records can be kept at.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text itself may hold a password.
        raise ConfigurationError(
            "DATABASE_URL is not a URL such as postgresql://user@host/name or sqlite:///data/records.db"
        ) from None
    kind = parsed.drivername.partition("+")[0]
    if kind in ("postgres", "postgresql"):
        try:
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                pool_size=connections,
                max_overflow=10,
                pool_timeout=CONNECT_SECONDS,
                # Without prepared statements a pooler may sit between (they would outlive its transactions).
                connect_args={"connect_timeout": CONNECT_SECONDS, "prepare_threshold": None},
                **_JSON,
            )
        except ModuleNotFoundError:
            raise ConfigurationError(
                "PostgreSQL needs psycopg: install scrapewatch[server,postgres]"
            ) from None
        event.listen(engine, "connect", _set_up_postgresql)
        return engine
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigurationError("the records need a file: give DATABASE_URL=sqlite:///path/of/a/file.db")
        Path(str(parsed.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
        try:
            engine = create_engine(
                parsed,
                connect_args={} if "timeout" in parsed.query else {"timeout": BUSY_SECONDS},
                pool_size=connections,
                max_overflow=0,
                pool_timeout=BUSY_SECONDS,
                **_JSON,
            )
        except NoSuchModuleError as error:
            raise ConfigurationError(f"DATABASE_URL: {error}") from None
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    raise ConfigurationError(f"DATABASE_URL begins with {kind}: the records go to postgresql or sqlite")


def _set_up_postgresql(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.autocommit = True
    # plan_cache_mode: a plan of PostgreSQL's own check of a foreign key, made while the tables were empty, reads all of a table for
    # every row, and is kept until the table is next analysed: an import of 50,000 sessions took more than 10 minutes for it.
    # max_parallel_workers_per_gather: what is asked for a page is some milliseconds of work, which to part costs as much again.
    connection.execute(
        f"SET timezone TO 'UTC'; SET max_parallel_workers_per_gather TO 0; SET statement_timeout TO '{STATEMENT_SECONDS}s';"
        f"SET lock_timeout TO '{BUSY_SECONDS}s'; SET idle_in_transaction_session_timeout TO '60s';"
        "SET plan_cache_mode TO 'force_custom_plan'"
    )
    connection.autocommit = False


def _set_up_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    # The driver's own idea of when to begin would start a writing transaction as a reading one (see _begin_sqlite).
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that turns from reading into writing ignores the busy timeout, so one that will write says so at once.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def answering() -> Iterator[None]:
    """Turn a driver's failure to answer into :class:`StoreUnavailable`; a mistake of ours in SQL stays what it is."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreUnavailable("every connection to the records is in use", retry_after=1) from error
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"the records do not answer: {_first_line(error)}") from error
    except DBAPIError as error:
        # A damaged SQLite file raises the base class; a lost connection may raise any.
        if error.connection_invalidated or type(error) is DatabaseError:
            raise StoreUnavailable(f"the records do not answer: {_first_line(error)}") from error
        raise
    except sqlite3.DatabaseError as error:  # of rows that are fetched past SQLAlchemy
        raise StoreUnavailable(f"the records do not answer: {error}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with answering(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back when anything is raised.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with answering(), engine.execution_options(writes=True).connect() as connection, connection.begin():
        yield connection
