"""Tokens: our own between processes, and those of an issuer with a server of keys."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from records.credentials import SqlCredentials
from records.store import SqlRecords
from scrapewatch.access import ADMIN, READ, WRITE, Identity
from scrapewatch.keys import prefix_of
from scrapewatch.problems import ConfigurationError, StoreUnavailable, Unauthenticated
from scrapewatch.settings import Settings
from scrapewatch.tokens import AUDIENCE, ISSUER, ForeignTokens, Jwks, Tokens, foreign_tokens
from tests.credentials import make_key
from tests.issuer import ALGORITHMS, Issuer
from tests.new_records import records_in


class _Nobody(SqlCredentials):
    """Records in which no key is."""

    def __init__(self) -> None:
        pass

    def token_key(self, key_id: str) -> bytes | None:
        return None


_NOBODY = _Nobody()
ME = Identity("default", frozenset({READ}), "key:x")


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecords]:
    made = records_in(tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(records: SqlRecords) -> SqlCredentials:
    return SqlCredentials(records.engine)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.fixture
def judge(store: SqlCredentials, issuer: Issuer) -> Callable[[str], tuple[Identity, int | None]]:
    store.create_tenant("acme")
    foreign = foreign_tokens(Settings(oauth_issuer=issuer.url, oauth_audience="scrapewatch-api"))
    return Tokens(store, foreign).judge


# --- our own


def test_a_token_of_one_process_is_known_to_another(store: SqlCredentials) -> None:
    text = Tokens(store).issue(ME, seconds=60)
    identity, until = Tokens(store).judge(text)
    assert identity == ME
    assert until is not None and 0 < until / 1e9 - time.time() <= 60


def test_what_signs_never_leaves_the_process(records: SqlRecords, store: SqlCredentials) -> None:
    Tokens(store).issue(ME)
    with records.engine.connect() as db:
        (row,) = db.exec_driver_sql("SELECT public_key FROM token_keys").all()
    assert len(bytes.fromhex(row[0])) == 32, "a public key of Ed25519, and nothing else"


def test_a_token_is_worth_no_more_than_its_key(records: SqlRecords, store: SqlCredentials) -> None:
    key = make_key(records.engine, READ, WRITE, tenant="acme")
    prefix = prefix_of(key)
    tokens = Tokens(store)
    # Even if it says more, as one would that was made before the key's scopes were cut.
    text = tokens.issue(Identity("default", frozenset({READ, ADMIN}), "key"), key=prefix)
    assert tokens.judge(text)[0] == Identity("acme", frozenset({READ}), "key")
    store.revoke_key(str(prefix))
    with pytest.raises(Unauthenticated, match="was revoked"):
        tokens.judge(text)


def test_a_token_that_was_tampered_with_is_none(store: SqlCredentials) -> None:
    tokens = Tokens(store)
    head, claims, signature = tokens.issue(ME).split(".")
    other = tokens.issue(Identity("acme", frozenset({ADMIN}), "x")).split(".")[1]
    for text in (
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"..{signature}",
        "a.b.c",
        jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 9e9}, "", algorithm="none"),
        jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 9e9}, "k" * 32, headers={"kid": "x"}),
    ):
        with pytest.raises(Unauthenticated):
            tokens.judge(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_CLAIMS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("iss", "aud", "sub", "exp", "kid", "alg", "typ", "crit", "b64"), _JSON | st.just(ISSUER)
    ),
)


@given(_CLAIMS | _JSON, _CLAIMS | _JSON, st.binary(max_size=80))
@example([], {}, b"")
@example({"alg": "none"}, {"iss": ISSUER}, b"")
@settings(max_examples=60, deadline=None)
def test_whatever_looks_like_a_token_is_one_or_refused(head: Any, claims: Any, signature: bytes) -> None:
    parts = (json.dumps(head).encode(), json.dumps(claims).encode(), signature)
    text = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    with pytest.raises(Unauthenticated):
        Tokens(_NOBODY).judge(text)


def test_a_token_of_endless_depth_is_refused(store: SqlCredentials) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 5_000).decode()
    with pytest.raises(Unauthenticated):
        Tokens(store).judge(f"{deep}.{deep}.x")


def test_the_public_key_as_a_shared_secret_opens_nothing(store: SqlCredentials) -> None:
    tokens = Tokens(store)
    kid = jwt.get_unverified_header(tokens.issue(ME))["kid"]
    public = store.token_key(kid)
    assert public is not None
    forged = jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "tenant": "default", "scope": ADMIN, "exp": 9e9},
        public,
        algorithm="HS256",
        headers={"kid": kid},
    )
    with pytest.raises(Unauthenticated):
        tokens.judge(forged)


def test_a_token_that_is_over_is_none(store: SqlCredentials) -> None:
    tokens = Tokens(store)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.judge(tokens.issue(ME, seconds=-60))


def test_keys_of_the_past_are_forgotten(records: SqlRecords, store: SqlCredentials) -> None:
    store.add_token_key("old", b"x" * 32, 1)
    assert store.token_key("old") is None
    Tokens(store).issue(ME)
    with records.engine.connect() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM token_keys").scalar_one() == 1


# --- another issuer's


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_the_issuer_is_taken(
    issuer: Issuer, judge: Callable[[str], tuple[Identity, int | None]], algorithm: str
) -> None:
    issuer.algorithms = [algorithm]
    identity, until = judge(issuer.token(algorithm))
    assert identity == Identity("acme", frozenset({READ}), "token:ada")
    assert until is not None
    assert judge(issuer.token(algorithm, scope=None, scp=[WRITE, 7]))[0].scopes == {WRITE}


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-service"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"tenant": None},
        {"tenant": "nobody"},
        {"tenant": ["acme"]},
        {"nbf": 9_999_999_999},
    ],
)
def test_a_token_that_is_for_others_or_says_too_little_is_refused(
    issuer: Issuer, judge: Callable[[str], tuple[Identity, int | None]], claims: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        judge(issuer.token(**claims))


def test_a_token_without_the_id_of_its_key_is_taken_while_there_is_only_one(
    issuer: Issuer, judge: Callable[[str], tuple[Identity, int | None]]
) -> None:
    assert judge(issuer.token(head={}))[0].tenant == "acme"


def test_a_signature_of_somebody_else_is_refused(
    issuer: Issuer, judge: Callable[[str], tuple[Identity, int | None]]
) -> None:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    with pytest.raises(Unauthenticated):
        judge(jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": "k-RS256"}))
    with pytest.raises(Unauthenticated):
        judge(jwt.encode(claims, "s" * 32, algorithm="HS256", headers={"kid": "k-RS256"}))


def test_the_keys_are_asked_for_once_and_not_for_every_stranger(issuer: Issuer) -> None:
    now = [0.0]
    keys = Jwks(f"{issuer.url}/jwks", clock=lambda: now[0])
    for _ in range(50):
        keys.key("k-RS256")
    assert issuer.asked == 1
    for number in range(50):
        with pytest.raises(Unauthenticated):
            keys.key(f"stranger-{number}")
    assert issuer.asked == 1, "it was asked a moment ago"
    now[0] += 10
    issuer.algorithms = ["RS256", "EdDSA"]
    assert keys.key("k-EdDSA") is not None, "a new key is found without a restart"
    assert issuer.asked == 2
    now[0] += 300
    keys.key("k-RS256")
    assert issuer.asked == 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (200, b"{}"),
        (200, b"[]"),
        (200, b'{"keys": 7}'),
        (200, b'{"keys": [7]}'),
        (200, b"<html>"),
        (302, b""),
        (200, b"[" * 9_000),
    ],
)
def test_while_the_issuer_is_away_the_known_keys_go_on_and_others_wait(
    issuer: Issuer, status: int, body: bytes
) -> None:
    now = [0.0]
    keys = Jwks(f"{issuer.url}/jwks", clock=lambda: now[0])
    keys.key("k-RS256")
    issuer.status, issuer.body = status, body
    now[0] += 301
    assert keys.key("k-RS256") is not None
    with pytest.raises(StoreUnavailable):
        keys.key("another")
    now[0] += 3_600
    with pytest.raises(StoreUnavailable):
        keys.key("k-RS256")


def test_an_issuer_that_is_nowhere_is_no_fault_of_the_token() -> None:
    tokens = ForeignTokens("http://127.0.0.1:9", "a", "http://127.0.0.1:9/jwks")
    with pytest.raises(StoreUnavailable):
        tokens.judge("a.b.c", "k")


@pytest.mark.parametrize(
    "chosen",
    [
        {"oauth_issuer": "https://id.example"},
        {"oauth_issuer": "http://id.example", "oauth_audience": "a"},
        {
            "oauth_issuer": "https://id.example",
            "oauth_audience": "a",
            "oauth_jwks_url": "http://127.0.0.1.evil.example/k",
        },
        {"oauth_issuer": "https://id.example", "oauth_audience": "a", "oauth_jwks_url": "file:///etc/passwd"},
    ],
)
def test_an_issuer_that_could_be_anybody_is_refused_at_the_start(chosen: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        foreign_tokens(Settings.model_validate(chosen))


def test_without_an_issuer_its_tokens_are_not_taken(store: SqlCredentials, issuer: Issuer) -> None:
    assert foreign_tokens(Settings()) is None
    with pytest.raises(Unauthenticated):
        Tokens(store).judge(issuer.token())
