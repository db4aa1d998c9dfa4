"""What is remembered of credentials, and for how long: over the real records, with a clock of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from records.credentials import SqlCredentials
from records.store import SqlRecords
from scrapewatch import credentials
from scrapewatch.access import ADMIN, LOCAL, READ
from scrapewatch.credentials import FRESH, OUTAGE, VALID, Credentials, bare
from scrapewatch.keys import hash_of, new_key, prefix_of
from scrapewatch.problems import StoreUnavailable, Unauthenticated
from scrapewatch.time import SECOND, now_ns
from tests.credentials import make_key
from tests.new_records import records_in


class Setting:
    """Credentials over records, a clock, and how often the records were asked."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_000.0
        self.records: SqlRecords = records_in(folder)
        self.store = SqlCredentials(self.records.engine)
        self.credentials = Credentials(self.store, clock=lambda: self.now)
        self.asked = 0
        self.away = False
        event.listen(self.records.engine, "begin", self._count)

    def _count(self, _: Any) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("the records do not answer")

    async def settle(self) -> None:
        """Wait until nothing is done in the background."""
        while waiting := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            await asyncio.wait(waiting)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.records.close()


def shown(key: str) -> bytes:
    return f"Bearer {key}".encode()


def test_keys_are_256_random_bits_of_which_the_hash_is_kept(setting: Setting) -> None:
    key = make_key(setting.records.engine, READ)
    assert len(key.rpartition("_")[2]) == 64
    assert prefix_of(key) == key[3:11]
    assert len({new_key() for _ in range(100)}) == 100
    for text in ("", "sw_", key[:-1], key + "0", key.upper(), f" {key}", key.replace("sw_", "xx_")):
        assert prefix_of(text) is None
    with setting.records.engine.connect() as db:
        (row,) = db.exec_driver_sql("SELECT * FROM api_keys").all()
    assert hash_of(key) in row
    assert key[12:] not in str(row)


def test_a_key_that_is_used_a_thousand_times_a_second_is_looked_up_once(setting: Setting) -> None:
    async def run() -> None:
        key = shown(make_key(setting.records.engine, READ))
        assert setting.credentials.known(key) is None
        identity = await setting.credentials.identify(key)
        await setting.settle()
        asked = setting.asked
        for _ in range(1_000):
            assert setting.credentials.known(key) is identity
        assert setting.asked == asked
        assert identity.scopes == {READ}

    asyncio.run(run())


def test_requests_that_come_at_once_share_one_look(setting: Setting) -> None:
    async def run() -> None:
        key = shown(make_key(setting.records.engine, READ))
        before = setting.asked
        await asyncio.gather(*(setting.credentials.identify(key) for _ in range(50)))
        assert setting.asked - before <= 2, "the key, and that it was used"
        await setting.settle()

    asyncio.run(run())


@pytest.mark.parametrize("busy", [True, False])
def test_a_revoked_key_is_refused_within_seconds_whether_it_is_busy_or_not(
    setting: Setting, busy: bool
) -> None:
    async def run() -> None:
        key = make_key(setting.records.engine, READ)
        await setting.credentials.identify(shown(key))
        await setting.settle()
        setting.store.revoke_key(str(prefix_of(key)))
        if busy:
            setting.now += FRESH
            assert setting.credentials.known(shown(key)) is not None, "this one begins the check"
            await setting.settle()
            assert setting.credentials.known(shown(key)) is None
        setting.now += VALID
        assert setting.credentials.known(shown(key)) is None
        with pytest.raises(Unauthenticated, match="was revoked"):
            await setting.credentials.identify(shown(key))

    asyncio.run(run())


def test_a_key_ends_at_its_time_and_not_when_it_is_next_looked_up(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        key = make_key(setting.records.engine, READ)
        real = setting.store.by_hash

        def ends_in_a_second(key_hash: str) -> Any:
            found = real(key_hash)
            assert found is not None
            return replace(found, expires_at=now_ns() + SECOND)

        monkeypatch.setattr(setting.store, "by_hash", ends_in_a_second)
        await setting.credentials.identify(shown(key))
        setting.now += 0.9
        assert setting.credentials.known(shown(key)) is not None
        setting.now += 0.2
        assert setting.credentials.known(shown(key)) is None
        await setting.settle()

    asyncio.run(run())


def test_while_the_records_are_away_keys_that_were_good_go_on_and_others_are_told_to_come_back(
    setting: Setting,
) -> None:
    async def run() -> None:
        key, other = (make_key(setting.records.engine, READ) for _ in range(2))
        await setting.credentials.identify(shown(key))
        await setting.settle()
        setting.away = True
        for _ in range(10):
            setting.now += VALID + 1
            assert (await setting.credentials.identify(shown(key))).scopes == {READ}
            assert setting.credentials.known(shown(key)) is not None, "not each waits for the records"
        with pytest.raises(StoreUnavailable):
            await setting.credentials.identify(shown(other))
        setting.now += OUTAGE
        with pytest.raises(StoreUnavailable):
            await setting.credentials.identify(shown(key))
        setting.away = False
        assert (await setting.credentials.identify(shown(key))).scopes == {READ}
        await setting.settle()

    asyncio.run(run())


def test_records_that_hang_hold_nobody_up_for_long(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "PATIENCE", 0.05)

    async def run() -> None:
        key = make_key(setting.records.engine, READ)
        await setting.credentials.identify(shown(key))
        await setting.settle()
        monkeypatch.setattr(setting.store, "by_hash", lambda _: time.sleep(0.5))
        setting.now += VALID
        assert (await setting.credentials.identify(shown(key))).scopes == {READ}
        with pytest.raises(StoreUnavailable):
            await setting.credentials.identify(shown(new_key()))

    asyncio.run(run())


def test_nothing_shown_is_the_local_administrator_until_the_first_key(setting: Setting) -> None:
    async def run() -> None:
        assert await setting.credentials.identify(b"") is LOCAL
        make_key(setting.records.engine, ADMIN, made="revoked")
        setting.now += VALID
        with pytest.raises(Unauthenticated):
            await setting.credentials.identify(b"")
        asked = setting.asked
        setting.now += 1e9
        with pytest.raises(Unauthenticated):
            await setting.credentials.identify(b"")
        assert setting.asked == asked, "keys are never unmade"
        await setting.settle()

    asyncio.run(run())


def test_that_a_key_is_used_is_noted_at_most_once_a_minute(setting: Setting) -> None:
    async def run() -> None:
        key = make_key(setting.records.engine, READ)
        assert setting.store.keys()[0].last_used_at is None
        await setting.credentials.identify(shown(key))
        await setting.settle()
        first = setting.store.keys()[0].last_used_at
        assert first is not None
        setting.now += VALID
        await setting.credentials.identify(shown(key))
        await setting.settle()
        assert setting.store.keys()[0].last_used_at == first
        setting.now += 60
        await setting.credentials.identify(shown(key))
        await setting.settle()
        last = setting.store.keys()[0].last_used_at
        assert last is not None and last > first

    asyncio.run(run())


def test_guesses_fill_no_memory(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_MOST_REMEMBERED", 100)

    async def run() -> None:
        for _ in range(300):
            with pytest.raises(Unauthenticated):
                await setting.credentials.identify(b"Bearer " + new_key().encode())
        assert len(setting.credentials._found) <= 100

    asyncio.run(run())


def test_a_tenant_that_is_disabled_is_refused_and_let_in_again(setting: Setting) -> None:
    async def run() -> None:
        key = make_key(setting.records.engine, READ, tenant="acme")
        setting.store.change_tenant("acme", disabled=True)
        with pytest.raises(Unauthenticated, match="disabled"):
            await setting.credentials.identify(shown(key))
        setting.store.change_tenant("acme", disabled=False)
        setting.credentials.forget()
        assert (await setting.credentials.identify(shown(key))).tenant == "acme"
        await setting.settle()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "x" * 9_000, "kéy", "Digest abc", "Bearer", "Basic a:b"])
def test_what_is_no_credential_is_refused_without_being_looked_up(setting: Setting, text: str) -> None:
    async def run() -> None:
        before = setting.asked
        with pytest.raises(Unauthenticated):
            await setting.credentials.identify(text.encode() or b"-")
        assert setting.asked == before

    asyncio.run(run())


def test_a_key_is_found_in_its_header() -> None:
    assert bare(b"Bearer abc") == bare(b"token  abc ") == bare(b"abc") == "abc"
