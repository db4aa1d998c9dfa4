"""Keys and tenants on every database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

import records.credentials
from records.credentials import SqlCredentials
from records.store import SqlRecords
from scrapewatch.access import READ, WRITE
from scrapewatch.keys import hash_of, new_key, prefix_of
from scrapewatch.problems import Conflict, InvalidInput, NotFound
from scrapewatch.time import SECOND, now_ns, to_ns

SCOPES = frozenset({READ, WRITE})


@pytest.fixture
def store(new_records: Callable[[], SqlRecords]) -> SqlCredentials:
    return SqlCredentials(new_records().engine)


def test_a_key_is_found_by_its_hash_and_prefix_until_it_is_revoked(store: SqlCredentials) -> None:
    assert not store.any_made()
    ends = datetime.now(UTC) + timedelta(days=1)
    text, info = store.create_key("  spiders ", scopes=SCOPES, expires_at=ends)
    assert (info.name, info.scopes, info.problem) == ("spiders", [WRITE, READ], None)
    assert store.any_made()
    found = store.by_hash(hash_of(text))
    assert found == store.by_prefix(info.prefix)
    assert found is not None
    assert (found.prefix, found.tenant, found.scopes) == (prefix_of(text), "default", SCOPES)
    assert found.expires_at is not None and abs(found.expires_at - to_ns(ends)) < SECOND
    assert store.by_hash(hash_of(new_key())) is None
    assert store.revoke_key(info.prefix).revoked_at is not None
    revoked = store.by_hash(hash_of(text))
    assert revoked is not None and revoked.problem == "was revoked"
    assert store.any_made()


def test_a_name_tells_the_keys_of_a_tenant_apart_for_good(store: SqlCredentials) -> None:
    store.create_tenant("acme")
    first = store.create_key("k", scopes=SCOPES)[1]
    store.create_key("k", scopes=SCOPES, tenant="acme")
    store.revoke_key(first.prefix)
    with pytest.raises(Conflict):
        store.create_key("k", scopes=SCOPES)
    assert [info.tenant for info in store.keys(None)] == ["default", "acme"]
    assert [info.tenant for info in store.keys("acme")] == ["acme"]
    with pytest.raises(NotFound):
        store.revoke_key(first.prefix, "acme")


def test_of_two_keys_of_one_name_at_once_one_is_made(store: SqlCredentials) -> None:
    made: list[str] = []
    refused: list[Conflict] = []
    both = threading.Barrier(2)

    def make() -> None:
        both.wait()
        try:
            made.append(store.create_key("k", scopes=SCOPES)[0])
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 1)
    assert len(store.keys()) == 1


def test_a_prefix_that_is_taken_is_drawn_again(
    store: SqlCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = store.create_key("first", scopes=SCOPES)[0]
    same = taken[:12] + new_key()[12:]
    drawn = iter([same, new_key()])
    monkeypatch.setattr(records.credentials, "new_key", lambda: next(drawn))
    text, _ = store.create_key("second", scopes=SCOPES)
    assert text != same


def test_the_latest_use_is_kept(store: SqlCredentials) -> None:
    _, info = store.create_key("k", scopes=SCOPES)
    later = now_ns()
    for at in (later, later - SECOND):
        store.note_use(info.prefix, at)
    (kept,) = store.keys()
    assert kept.last_used_at is not None and abs(to_ns(kept.last_used_at) - later) < 1_000


def test_tenants_are_known_disabled_and_let_in_again(store: SqlCredentials) -> None:
    assert store.tenant_problem("default") is None
    assert store.tenant_problem("acme") == "is not known"
    assert store.create_tenant("acme", " ACME ").title == "ACME"
    with pytest.raises(Conflict):
        store.create_tenant("acme")
    text, _ = store.create_key("k", scopes=SCOPES, tenant="acme")
    first = store.change_tenant("acme", disabled=True).disabled_at
    assert first is not None and store.change_tenant("acme", disabled=True).disabled_at == first
    assert store.tenant_problem("acme") == "is disabled"
    found = store.by_hash(hash_of(text))
    assert found is not None and found.problem == "is of a tenant that is disabled"
    with pytest.raises(NotFound):
        store.create_key("other", scopes=SCOPES, tenant="acme")
    assert store.change_tenant("acme", title="", disabled=False).title is None
    assert [info.name for info in store.tenants()] == ["default", "acme"]


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\nb", "a\x1b[1m"])
def test_a_key_without_a_name_to_print_is_refused(store: SqlCredentials, name: str) -> None:
    with pytest.raises(InvalidInput):
        store.create_key(name, scopes=SCOPES)


def test_public_keys_are_kept_until_their_end(store: SqlCredentials) -> None:
    store.add_token_key("a", b"\1" * 32, now_ns() + 60 * SECOND)
    store.add_token_key("b", b"\2" * 32, now_ns() - SECOND)
    assert store.token_key("a") == b"\1" * 32
    assert store.token_key("b") is None
    assert store.token_key("c") is None
