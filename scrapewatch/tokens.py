"""Bearer tokens: short-lived ones of our own, and those of an issuer whose keys are public.

Each process that issues tokens signs them with an Ed25519 key of its own that never leaves its memory; the public half goes into the
records, where every process that checks tokens finds it. So there is no secret that processes share, nor one at rest. A token names
the API key that it was made for, and is worth no more than that: it dies with it.

Tokens of another issuer are checked against its JWKS; issuer, audience and an expiry are demanded, and only signatures that need a
private key count. All of it blocks. Needs the extra ``server``; what does the signing is loaded when it is first needed.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from scrapewatch.access import ADMIN, Identity, known_scopes
from scrapewatch.addresses import is_loopback
from scrapewatch.problems import ConfigurationError, StoreUnavailable, Unauthenticated
from scrapewatch.time import HOUR, SECOND, now_ns

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from scrapewatch.credentials import KeyStore
    from scrapewatch.settings import Settings

ISSUER: Final = "urn:scrapewatch"
AUDIENCE: Final = "scrapewatch"

TOKEN_SECONDS: Final = 900
"""How long a token of ours is good."""

LOGIN_SECONDS: Final = 12 * 3600
"""How long a browser stays signed in."""

_SIGN_WITH_ONE: Final = 24 * HOUR
_LEEWAY: Final = 30
_FOREIGN: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

# What a document may lead to that is none with keys.
_NO_KEYS: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_JWKS_FRESH: Final = 300.0
_JWKS_AGAIN: Final = 10.0
_JWKS_KEPT: Final = 3600.0
_JWKS_BYTES: Final = 262_144


class Tokens:
    """Makes tokens, and says whose one is.

    ``foreign`` checks those of another issuer; None: only our own are taken.
    """

    def __init__(self, store: KeyStore, foreign: ForeignTokens | None = None) -> None:
        self._store = store
        self._foreign = foreign
        self._lock = threading.Lock()
        self._signing: tuple[str, Ed25519PrivateKey, int] | None = None
        self._public: dict[str, tuple[bytes, float]] = {}

    def issue(self, identity: Identity, *, seconds: int = TOKEN_SECONDS, key: str | None = None) -> str:
        """A token that stands for ``identity`` for so many seconds; ``key`` is the prefix of the API key that it dies with.

        Raises:
            StoreUnavailable: its key cannot be made known now.
        """
        import jwt

        key_id, private = self._signing_key()
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": identity.name,
            "tenant": identity.tenant,
            "scope": " ".join(sorted(identity.scopes)),
            "jti": secrets.token_hex(8),
            "iat": now,
            "exp": now + seconds,
        }
        if key is not None:
            claims["key"] = key
        return jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": key_id})

    def judge(self, text: str) -> tuple[Identity, int | None]:
        """Whose token ``text`` is, and until when (ns).

        Raises:
            Unauthenticated: it is none that is good.
            StoreUnavailable: it cannot be checked now.
        """
        import jwt

        try:
            head = jwt.get_unverified_header(text)
            claimed = jwt.decode(text, options={"verify_signature": False})
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise Unauthenticated("this is neither an API key nor a token of scrapewatch's") from None
        key_id = head.get("kid")
        if claimed.get("iss") == ISSUER:
            return self._own(text, key_id)
        if self._foreign is None or claimed.get("iss") != self._foreign.issuer:
            raise Unauthenticated("tokens of this issuer are not taken here")
        identity, until = self._foreign.judge(text, key_id)
        problem = self._store.tenant_problem(identity.tenant)
        if problem is not None:
            raise Unauthenticated(f"the tenant of this token {problem}")
        return identity, until

    def _own(self, text: str, key_id: object) -> tuple[Identity, int]:
        import jwt
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        public = self._public_key(key_id) if isinstance(key_id, str) and len(key_id) <= 64 else None
        if public is None:
            raise Unauthenticated("this token was signed by nobody who is known, or too long ago")
        claims = _verified(
            jwt, text, Ed25519PublicKey.from_public_bytes(public), ("EdDSA",), ISSUER, AUDIENCE
        )
        identity = Identity(str(claims.get("tenant")), _scopes(claims), str(claims["sub"])[:200])
        until = int(claims["exp"]) * SECOND
        if (prefix := claims.get("key")) is not None:
            key = self._store.by_prefix(str(prefix))
            if key is None or key.problem is not None:
                raise Unauthenticated(
                    f"the key of this token {key.problem if key is not None else 'is not known'}"
                )
            # Whatever the token says, it is of its key's tenant, and allows what that still does.
            allowed = identity.scopes if ADMIN in key.scopes else identity.scopes & key.scopes
            identity = Identity(key.tenant, allowed, identity.name)
            until = min(until, key.expires_at or until)
        return identity, until

    def _signing_key(self) -> tuple[str, Ed25519PrivateKey]:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        with self._lock:
            now = now_ns()
            if self._signing is None or now >= self._signing[2]:
                key_id, private = secrets.token_hex(8), Ed25519PrivateKey.generate()
                last = now + _SIGN_WITH_ONE
                # It is known before anything is signed with it, and for as long as what was signed last is good.
                self._store.add_token_key(
                    key_id, private.public_key().public_bytes_raw(), last + (LOGIN_SECONDS + 60) * SECOND
                )
                self._signing = key_id, private, last
            return self._signing[0], self._signing[1]

    def _public_key(self, key_id: str) -> bytes | None:
        """The public key of that id: asked for once, since it never becomes another."""
        known = self._public.get(key_id)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        found = self._store.token_key(key_id)
        if found is not None:
            if len(self._public) >= 100:
                self._public.clear()
            self._public[key_id] = found, time.monotonic() + 600
        return found


class ForeignTokens:
    """Tokens of ``issuer`` for ``audience``, whose keys are at ``jwks_url``; the tenant is in the claim ``tenant_claim``."""

    def __init__(self, issuer: str, audience: str, jwks_url: str, *, tenant_claim: str = "tenant") -> None:
        self.issuer = issuer
        self._audience = audience
        self._tenant_claim = tenant_claim
        self._keys = Jwks(jwks_url)

    def judge(self, text: str, key_id: object) -> tuple[Identity, int]:
        """Whose token ``text`` is, and until when (ns).

        Raises:
            Unauthenticated: it is none that is good.
            StoreUnavailable: the issuer's keys cannot be had now.
        """
        import jwt

        key = self._keys.key(key_id if isinstance(key_id, str) else None)
        claims = _verified(jwt, text, key, _FOREIGN, self.issuer, self._audience)
        tenant = claims.get(self._tenant_claim)
        if not isinstance(tenant, str) or not tenant:
            raise Unauthenticated("this token names no tenant")
        identity = Identity(tenant, _scopes(claims), f"token:{str(claims['sub'])[:200]}")
        return identity, int(claims["exp"]) * SECOND


class Jwks:
    """The public keys of an issuer: kept for minutes, asked for anew where one is not among them, but not at every stranger's token.

    While the issuer does not answer, the keys that are known go on for an hour.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Mapping[str | None, Any] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._failed = False

    def key(self, key_id: str | None) -> Any:
        """The key of that id; without one the only key there is.

        Raises:
            Unauthenticated: the issuer has no such key.
            StoreUnavailable: it does not answer.
        """
        with self._lock:
            now = self._clock()
            old = now >= self._fetched_at + _JWKS_FRESH
            if (old or key_id not in self._found) and now >= self._tried_at + _JWKS_AGAIN:
                self._tried_at = now
                try:
                    self._found = self._fetch()
                    self._fetched_at = now
                    self._failed = False
                except StoreUnavailable:
                    self._failed = True
            if now >= self._fetched_at + _JWKS_KEPT:
                self._found = {}
            found = self._found.get(key_id)
            if found is None:
                if self._failed:
                    raise StoreUnavailable(
                        "the issuer of this token cannot be asked for its keys now; try again", retry_after=10
                    )
                raise Unauthenticated("this token was signed with a key that its issuer does not name")
            return found

    def _fetch(self) -> Mapping[str | None, Any]:
        import jwt
        import urllib3

        broken = (urllib3.exceptions.HTTPError, jwt.PyJWTError, *_NO_KEYS)
        try:
            # Closed, not given back: what was not read of too long an answer stays in the connection.
            with urllib3.request(
                "GET",
                self._url,
                timeout=urllib3.Timeout(connect=1.0, read=1.5),
                retries=False,
                redirect=False,
                preload_content=False,
            ) as answer:
                body = answer.read(_JWKS_BYTES, decode_content=True)
            if answer.status != 200:
                raise StoreUnavailable(f"the issuer answered {answer.status} for its keys")
            keys = jwt.PyJWKSet.from_json(body.decode()).keys
        except broken as error:
            raise StoreUnavailable(f"the keys of the issuer cannot be had: {type(error).__name__}") from error
        usable = [key for key in keys if key.public_key_use in (None, "sig")]
        found: dict[str | None, Any] = {key.key_id: key for key in usable if key.key_id}
        if len(usable) == 1:
            found[None] = usable[0]
        return found


def foreign_tokens(settings: Settings) -> ForeignTokens | None:
    """What the settings say of another issuer; None where they name none.

    Raises:
        ConfigurationError: an issuer without an audience, or keys that would come over a line that anybody may change.
    """
    issuer = settings.oauth_issuer
    if issuer is None:
        return None
    if settings.oauth_audience is None:
        raise ConfigurationError(
            "SCRAPEWATCH_OAUTH_ISSUER is set but SCRAPEWATCH_OAUTH_AUDIENCE is not: without it a token for any other service of that "
            "issuer would be good here"
        )
    url = settings.oauth_jwks_url or f"{issuer.rstrip('/')}/.well-known/jwks.json"
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ConfigurationError(
            "the keys of an issuer must come by https: set SCRAPEWATCH_OAUTH_JWKS_URL to such a URL"
        )
    return ForeignTokens(issuer, settings.oauth_audience, url, tenant_claim=settings.oauth_tenant_claim)


def _verified(
    jwt: Any, text: str, key: Any, algorithms: tuple[str, ...], issuer: str, audience: str
) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=list(algorithms),
            issuer=issuer,
            audience=audience,
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("this token has expired") from None
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
        raise Unauthenticated("this token is not good: its signature, issuer or audience is wrong") from None
    return claims


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes in ``scope`` (a text with spaces) or ``scp`` (that, or a list)."""
    said = claims.get("scope", claims.get("scp", ""))
    names = said.split() if isinstance(said, str) else said if isinstance(said, list) else ()
    return known_scopes(list(names))
