from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, inspect, select

import records.migrate
from records.engine import make_engine, reading, writing
from records.migrate import current, downgrade, newest, upgrade
from records.models import Base, Collector, ScrapeSession, SiteExecution
from tests.postgres import Postgres

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def fill(url: str) -> None:
    engine = make_engine(url)
    with writing(engine) as db:
        db.execute(insert(ScrapeSession).values(tenant="t", session_id="s", begun_at=NOON, status="running"))
        db.execute(insert(SiteExecution).values(tenant="t", session_id="s", site_name="x", attempt_number=1))
        db.execute(insert(Collector).values(number=0, leased_at=1, last_flush=7, last_seen=1))
    engine.dispose()


def test_the_migrations_lead_to_the_models(empty_url: str) -> None:
    engine = make_engine(empty_url)
    upgrade(engine)
    with engine.connect() as db:
        context = MigrationContext.configure(
            db,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_object": lambda part, *_: part.info.get("only", db.dialect.name) == db.dialect.name,
            },
        )
        assert compare_metadata(context, Base.metadata) == []
        assert current(db) == newest()
    engine.dispose()


def test_every_migration_can_be_taken_back_and_made_again_with_data_in_the_tables(empty_url: str) -> None:
    engine = make_engine(empty_url)
    upgrade(engine)
    fill(empty_url)
    downgrade(engine, "0001")
    with reading(engine) as db:
        assert db.scalar(select(func.count()).select_from(SiteExecution)) == 1
        assert not inspect(db).has_table("collectors")
    upgrade(engine)
    with reading(engine) as db:
        assert db.scalar(select(func.count()).select_from(SiteExecution)) == 1
        assert db.scalar(select(func.count()).select_from(Collector)) == 0
    downgrade(engine, "base")
    with reading(engine) as db:
        assert set(inspect(db).get_table_names()) <= {"alembic_version"}
        assert current(db) is None
    upgrade(engine)
    fill(empty_url)
    engine.dispose()


def test_the_number_of_the_newest_migration_is_the_one_that_they_lead_to() -> None:
    scripts = ScriptDirectory(str(Path(records.migrate.__file__).parent / "migrations"))
    assert scripts.get_heads() == [newest()]
    assert all(Path(found.path).name.startswith(f"{found.revision}_") for found in scripts.walk_revisions())


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(empty_url: str) -> None:
    engine = make_engine(empty_url)
    upgrade(engine)
    fill(empty_url)
    upgrade(engine)
    with reading(engine) as db:
        assert db.scalar(select(Collector.last_flush)) == 7
    engine.dispose()


def test_processes_that_upgrade_at_once_do_it_once(empty_url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        engine = make_engine(empty_url)
        try:
            upgrade(engine)
        except BaseException as error:
            failures.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_foreign_keys_hold_after_a_migration(empty_url: str) -> None:
    engine = make_engine(empty_url)
    upgrade(engine)
    with pytest.raises(Exception, match=r"(?i)foreign key"), writing(engine) as db:
        db.execute(insert(SiteExecution).values(tenant="t", session_id="?", site_name="x", attempt_number=1))
    engine.dispose()


def test_an_upgrade_takes_from_grafana_what_it_read_of_the_tables(postgres: Postgres) -> None:
    url = postgres.database()
    engine = make_engine(url)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE grafana LOGIN")
    try:
        upgrade(engine, "0008")
        with psycopg.connect(url) as connection:
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana")
            connection.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO grafana")
        upgrade(engine)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE public.later (id int)")
        as_grafana = url.replace("postgres@", "grafana@")
        with psycopg.connect(as_grafana, autocommit=True) as connection:
            connection.execute("SELECT * FROM panels.sessions")
            for table in ("scrape_sessions", "alerts", "later"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT * FROM {table}".encode())
    finally:
        engine.dispose()
        postgres.drop(url)
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("DROP ROLE grafana")
