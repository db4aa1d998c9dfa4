"""Bringing the tables up to date, and back: Alembic without a configuration file.

Alembic itself is loaded where there is something to migrate, which at most starts there is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from records.engine import answering, reading

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = Path(__file__).parent / "migrations"

# Any number will do, as long as no other program that shares the database takes the same.
_ADVISORY_LOCK = 5_725_041_300_271


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the tables to ``revision``. Several processes may do so at once: one works, the others wait and find it done.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with reading(engine) as connection:
        if revision in ("head", newest()) and current(connection) == newest():
            return
    from alembic import command

    with _alone(engine) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to ``revision``; ``"base"`` drops them, and the data in them.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    from alembic import command

    with _alone(engine) as connection:
        command.downgrade(_config(connection), revision)


@cache
def newest() -> str:
    """The revision that this program needs: migrations are numbered, and their files begin with their number."""
    return max(path.name.partition("_")[0] for path in (_SCRIPTS / "versions").glob("[0-9]*.py"))


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None where it was never set up."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A writing transaction that no other migration runs beside."""
    with answering(), engine.execution_options(writes=True).connect() as connection:
        restore = _loosen(connection)
        try:
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
                yield connection
        finally:
            restore()


def _loosen(connection: Connection) -> Callable[[], None]:
    """Switch foreign keys off on SQLite, where changing a table means to drop it, which would delete what refers to its rows.

    They can only be switched outside a transaction, hence past SQLAlchemy. Returns what switches them on again.
    """
    if connection.dialect.name != "sqlite":
        return lambda: None
    driver = connection.connection.driver_connection
    assert driver is not None, "the connection was just opened"  # noqa: S101
    driver.execute("PRAGMA foreign_keys = OFF")
    return lambda: driver.execute("PRAGMA foreign_keys = ON") and None
