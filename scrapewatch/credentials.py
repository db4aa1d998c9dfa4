"""From what a request shows to who it is: API keys and tokens, checked against the records and remembered for seconds.

Thousands of requests a second show the same few keys, so what was found is remembered by the SHA-256 of what was shown: a request then
costs one look into a dict. What is remembered is checked again while it is used, in the background after :data:`FRESH` seconds; after
:data:`VALID` a request waits for the check. So a key that is revoked is refused everywhere after at most :data:`VALID` seconds.

Where the records do not answer, keys that were good go on for :data:`OUTAGE` seconds, because a collector must accept events also while
its database is away; a credential that is not remembered cannot be told from a wrong one, and gets a 503.

A :class:`Credentials` belongs to the event loop's thread; what it asks of the records happens in threads of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from anyio import CapacityLimiter, to_thread

from scrapewatch.access import LOCAL, Identity
from scrapewatch.keys import hash_of, prefix_of
from scrapewatch.problems import ScrapewatchError, StoreUnavailable, Unauthenticated
from scrapewatch.time import now_ns

FRESH: Final = 3.0
"""Seconds after which what is remembered is checked again in the background."""

VALID: Final = 6.0
"""Seconds after which a request waits for that check."""

OUTAGE: Final = 12 * 3600.0
"""Seconds for which a key that was good goes on while the records do not answer."""

PATIENCE: Final = 2.0
"""Seconds that a request waits for a check."""

_USED_EVERY: Final = 60.0
_MOST_REMEMBERED: Final = 10_000
_NOTHING: Final = b""
"""What stands for a request that shows nothing."""

NEEDED: Final = "an API key or token is needed here: send it as Authorization: Bearer …"

_log = structlog.get_logger("scrapewatch.access")


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of an API key: ``expires_at`` in ns, ``problem`` says what is wrong with it ("was revoked"), None when it is good."""

    prefix: str
    tenant: str
    scopes: frozenset[str]
    expires_at: int | None
    problem: str | None = None


class KeyStore(Protocol):
    """The half of the records that knows credentials. Its methods block, and raise ``StoreUnavailable`` where it does not answer."""

    def any_made(self) -> bool:
        """Whether a key was ever made, whatever became of it."""
        ...

    def by_hash(self, key_hash: str) -> Key | None:
        """The key of that hash."""
        ...

    def by_prefix(self, prefix: str) -> Key | None:
        """The key of that prefix."""
        ...

    def note_use(self, prefix: str, at: int) -> None:
        """Keep that a key was used at ``at`` (ns)."""
        ...

    def tenant_problem(self, tenant: str) -> str | None:
        """What is wrong with a tenant ("is disabled"); None when it is one."""
        ...

    def token_key(self, key_id: str) -> bytes | None:
        """The public key (raw Ed25519) that tokens of ours were signed with; None where there is none, or no more."""
        ...

    def add_token_key(self, key_id: str, public_key: bytes, until: int) -> None:
        """Let tokens that are signed with this key be checked until ``until`` (ns); those of the past are forgotten."""
        ...


Judge = Callable[[str], tuple[Identity, int | None]]
"""Says whose token a text is, and until when (ns); raises ``Unauthenticated`` or ``StoreUnavailable``. Blocks."""


class _Found:
    """What a check found: an identity, or why there is none. Times are of the monotonic clock."""

    __slots__ = ("checked_at", "ends_at", "identity", "problem", "refresh_at", "valid_until")

    def __init__(self, identity: Identity | None, problem: str, now: float, ends_at: float) -> None:
        self.identity = identity
        self.problem = problem
        self.checked_at = now
        self.ends_at = ends_at
        self.valid_until = min(now + VALID, ends_at)
        self.refresh_at = min(now + FRESH, ends_at)

    def go_on(self, now: float) -> bool:
        """Let what was good go on while nobody can be asked; False once that was too long."""
        if self.identity is None or now >= min(self.checked_at + OUTAGE, self.ends_at):
            return False
        self.valid_until = min(now + VALID, self.ends_at)
        self.refresh_at = min(now + FRESH, self.ends_at)
        return True


class Credentials:
    """Who shows a credential, as ``store`` knows it.

    ``judge`` says whose a token is; None: tokens are not taken. With ``closed`` a request that shows none is nobody's even before
    the first key was made.
    """

    def __init__(
        self,
        store: KeyStore,
        judge: Judge | None = None,
        *,
        closed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._judge = judge
        self._closed = closed
        self._clock = clock
        self._found: dict[bytes, _Found] = {}
        self._checks: dict[bytes, asyncio.Task[_Found]] = {}
        self._used: dict[str, float] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._limiter = CapacityLimiter(4)

    def known(self, shown: bytes) -> Identity | None:
        """Who showed this, where that is remembered; ``b""`` stands for nothing shown."""
        mark = hashlib.sha256(shown).digest() if shown else _NOTHING
        found = self._found.get(mark)
        if found is None:
            return None
        now = self._clock()
        if now >= found.refresh_at:
            if now >= found.valid_until:
                return None
            if found.identity is not None:
                self._begin(mark, shown)
        return found.identity

    async def identify(self, shown: bytes) -> Identity:
        """Who shows this: the value of an ``Authorization`` header, a bare key or token, or ``b""`` for nothing.

        Raises:
            Unauthenticated: nobody that is known, or no more.
            StoreUnavailable: it cannot be said now.
        """
        mark = hashlib.sha256(shown).digest() if shown else _NOTHING
        found = self._found.get(mark)
        if found is None or self._clock() >= found.valid_until:
            found = await self._checked(mark, shown)
        if found.identity is None:
            raise Unauthenticated(found.problem)
        return found.identity

    def forget(self) -> None:
        """Check everything anew: something was changed here."""
        for mark in [*self._found]:
            if mark != _NOTHING:
                del self._found[mark]
        nothing = self._found.get(_NOTHING)
        if nothing is not None and nothing.identity is not None:
            del self._found[_NOTHING]

    async def _checked(self, mark: bytes, shown: bytes) -> _Found:
        check = self._begin(mark, shown)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(check)
        except (StoreUnavailable, TimeoutError) as error:
            before = self._found.get(mark)
            if before is not None and before.go_on(self._clock()):
                return before
            raise StoreUnavailable(
                "who asks cannot be checked now, since the database does not answer; try again", retry_after=5
            ) from error

    def _begin(self, mark: bytes, shown: bytes) -> asyncio.Task[_Found]:
        """The check of a credential that is under way, or a new one."""
        check = self._checks.get(mark)
        if check is None:
            check = self._checks[mark] = asyncio.get_running_loop().create_task(self._check(mark, shown))
            check.add_done_callback(lambda done: self._end(mark, done))
        return check

    def _end(self, mark: bytes, check: asyncio.Task[_Found]) -> None:
        del self._checks[mark]
        error = None if check.cancelled() else check.exception()
        if error is None:
            return
        before = self._found.get(mark)
        if isinstance(error, StoreUnavailable):
            if before is not None:
                before.go_on(self._clock())
        else:
            _log.error("a credential could not be checked", error=type(error).__name__)

    async def _check(self, mark: bytes, shown: bytes) -> _Found:
        try:
            identity, until = await to_thread.run_sync(
                self._look, shown, abandon_on_cancel=True, limiter=self._limiter
            )
            problem = ""
        except Unauthenticated as error:
            identity, until, problem = None, None, str(error)
        now = self._clock()
        ends_at = float("inf") if until is None else now + (until - now_ns()) / 1e9
        found = _Found(identity, problem, now, ends_at)
        if mark == _NOTHING and identity is None:
            # Keys are never unmade: what needs one now always will.
            found.valid_until = found.refresh_at = float("inf")
        if len(self._found) >= _MOST_REMEMBERED:
            self._make_room(now)
        self._found[mark] = found
        if identity is not None:
            self._note_use(identity.name, now)
        return found

    def _look(self, shown: bytes) -> tuple[Identity, int | None]:
        """Whose this is, and until when (ns). Blocks.

        Raises:
            Unauthenticated: nobody's.
            StoreUnavailable: it cannot be said now.
        """
        if not shown:
            if self._closed or self.store.any_made():
                raise Unauthenticated(NEEDED)
            return LOCAL, None
        text = bare(shown)
        if prefix_of(text) is not None:
            key = self.store.by_hash(hash_of(text))
            if key is None:
                raise Unauthenticated("this key is not known")
            if key.problem is not None:
                raise Unauthenticated(f"this key {key.problem}")
            return Identity(key.tenant, key.scopes, f"key:{key.prefix}"), key.expires_at
        if self._judge is not None and text.count(".") == 2:
            return self._judge(text)
        raise Unauthenticated("this is neither an API key nor a token of scrapewatch's")

    def _make_room(self, now: float) -> None:
        """Forget what is no longer valid, and if that is not enough the half that was found first."""
        for mark in [mark for mark, found in self._found.items() if now >= found.valid_until]:
            del self._found[mark]
        if len(self._found) >= _MOST_REMEMBERED:
            for mark in [*self._found][: _MOST_REMEMBERED // 2]:
                del self._found[mark]

    def _note_use(self, name: str, now: float) -> None:
        """Keep that a key is in use, at most once a minute, and never while somebody waits for it."""
        kind, _, prefix = name.partition(":")
        if kind != "key" or now < self._used.get(prefix, float("-inf")) + _USED_EVERY:
            return
        if len(self._used) >= _MOST_REMEMBERED:
            self._used.clear()
        self._used[prefix] = now
        noting = asyncio.get_running_loop().create_task(self._noted(prefix))
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _noted(self, prefix: str) -> None:
        with contextlib.suppress(ScrapewatchError):  # it is noted at its next use
            await to_thread.run_sync(
                self.store.note_use, prefix, now_ns(), abandon_on_cancel=True, limiter=self._limiter
            )


def bare(shown: bytes) -> str:
    """The key or token in the value of an ``Authorization`` header, or ``shown`` itself.

    ``Token`` is what clients of InfluxDB write instead of ``Bearer``.

    Raises:
        Unauthenticated: it is none that could be either.
    """
    if len(shown) > 8_192 or not shown.isascii():
        raise Unauthenticated("this is neither an API key nor a token of scrapewatch's")
    scheme, space, rest = shown.decode().strip().partition(" ")
    if not space:
        return scheme
    if scheme.lower() not in ("bearer", "token"):
        raise Unauthenticated("only Authorization: Bearer … is understood here")
    return rest.strip()
