"""Keys, tenants and the public halves of what tokens are signed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, func, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from records.engine import reading, writing
from records.merge import clean
from records.models import ApiKey, Base, Tenant, TokenKey
from scrapewatch.access import known_scopes, usable_tenant
from scrapewatch.credentials import Key
from scrapewatch.keys import hash_of, new_key, prefix_of
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import Conflict, InvalidInput, NotFound
from scrapewatch.time import now_ns, to_datetime, to_ns

_KEYS, _TENANTS, _TOKEN_KEYS = (
    Base.metadata.tables[model.__tablename__] for model in (ApiKey, Tenant, TokenKey)
)
_TRIES = 3


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as lists show it; ``problem`` says why it is refused, None while it is good. Times are aware and in UTC."""

    prefix: str
    name: str
    tenant: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """A tenant; one that is disabled keeps its data, and its keys are refused."""

    name: str
    title: str | None
    created_at: datetime | None
    disabled_at: datetime | None


class SqlCredentials:
    """The :class:`~scrapewatch.credentials.KeyStore` behind ``engine``, and what makes and takes back what it knows.

    ``lacks`` says what else a tenant needs before it may have keys, such as a place for its points; None when nothing is missing.
    All of it raises :class:`~scrapewatch.problems.StoreUnavailable` when the database does not answer.
    """

    def __init__(self, engine: Engine, lacks: Callable[[str], str | None] = lambda _: None) -> None:
        self.engine = engine
        self._lacks = lacks

    # --- what is asked while requests wait

    def any_made(self) -> bool:
        """Whether a key was ever made, whatever became of it."""
        with reading(self.engine) as db:
            return db.scalar(select(literal(1)).select_from(_KEYS).limit(1)) is not None

    def by_hash(self, key_hash: str) -> Key | None:
        """The key of that hash."""
        return self._key(_KEYS.c.key_hash == key_hash)

    def by_prefix(self, prefix: str) -> Key | None:
        """The key of that prefix."""
        return self._key(_KEYS.c.prefix == clean(prefix))

    def _key(self, condition: Any) -> Key | None:
        query = (
            select(_KEYS, _TENANTS.c.disabled_at)
            .join(_TENANTS, _TENANTS.c.name == _KEYS.c.tenant, isouter=True)
            .where(condition)
        )
        with reading(self.engine) as db:
            row = db.execute(query).mappings().one_or_none()
        if row is None:
            return None
        expires_at = None if row["expires_at"] is None else to_ns(row["expires_at"])
        scopes = known_scopes(row["scopes"])
        problem = _problem(row)
        if problem is None and (lacking := self._lacks(row["tenant"])) is not None:
            problem = f"is of a tenant that {lacking}"
        return Key(row["prefix"], row["tenant"], scopes, expires_at, problem)

    def note_use(self, prefix: str, at: int) -> None:
        """Keep that a key was used at ``at`` (ns); an earlier use does not overwrite a later one."""
        moment = to_datetime(at)
        with writing(self.engine) as db:
            db.execute(
                update(_KEYS)
                .where(
                    _KEYS.c.prefix == clean(prefix),
                    or_(_KEYS.c.last_used_at.is_(None), _KEYS.c.last_used_at < moment),
                )
                .values(last_used_at=moment)
            )

    def tenant_problem(self, tenant: str) -> str | None:
        """What is wrong with a tenant ("is disabled"); None when it is one."""
        query = select(_TENANTS.c.disabled_at).where(_TENANTS.c.name == clean(tenant))
        with reading(self.engine) as db:
            row = db.execute(query).one_or_none()
        if row is None and tenant != DEFAULT_TENANT:
            return "is not known"
        if row is not None and row[0] is not None:
            return "is disabled"
        return self._lacks(tenant)

    def token_key(self, key_id: str) -> bytes | None:
        """The public key (raw Ed25519) that tokens of ours were signed with; None where there is none, or no more."""
        query = select(_TOKEN_KEYS.c.public_key).where(
            _TOKEN_KEYS.c.id == clean(key_id), _TOKEN_KEYS.c.expires_at > to_datetime(now_ns())
        )
        with reading(self.engine) as db:
            found: str | None = db.scalar(query)
        return None if found is None else bytes.fromhex(found)

    def add_token_key(self, key_id: str, public_key: bytes, until: int) -> None:
        """Let tokens that are signed with this key be checked until ``until`` (ns); those of the past are forgotten."""
        now = to_datetime(now_ns())
        with writing(self.engine) as db:
            db.execute(delete(_TOKEN_KEYS).where(_TOKEN_KEYS.c.expires_at <= now))
            db.execute(
                insert(_TOKEN_KEYS).values(
                    id=key_id, public_key=public_key.hex(), created_at=now, expires_at=to_datetime(until)
                )
            )

    # --- what operators do

    def create_key(
        self,
        name: str,
        *,
        scopes: frozenset[str],
        tenant: str = DEFAULT_TENANT,
        expires_at: datetime | None = None,
    ) -> tuple[str, KeyInfo]:
        """A new key of ``tenant``: its text, which is known now and never again, and how lists show it.

        Raises:
            InvalidInput: the name is empty or too long, or the key would have expired already.
            NotFound: there is no such tenant, or it is disabled.
            Conflict: the tenant has a key of that name.
        """
        name = clean(name.strip())
        if not 1 <= len(name) <= 200 or not name.isprintable():
            raise InvalidInput("the name of a key has 1 to 200 characters that can be printed", "name")
        now = to_datetime(now_ns())
        if expires_at is not None and expires_at <= now:
            raise InvalidInput("a key must expire in the future", "expires_at")
        problem = self.tenant_problem(tenant)
        if problem is not None:
            raise NotFound(f"the tenant {tenant[:64]} {problem}")
        for left in reversed(range(_TRIES)):
            text = new_key()
            row = {
                "tenant": tenant,
                "name": name,
                "prefix": prefix_of(text),
                "key_hash": hash_of(text),
                "scopes": sorted(scopes),
                "created_at": now,
                "expires_at": expires_at,
            }
            try:
                with writing(self.engine) as db:
                    taken = select(literal(1)).where(_KEYS.c.tenant == tenant, _KEYS.c.name == name)
                    if db.scalar(taken) is not None:
                        raise Conflict(
                            f"there is a key {name!r} already, or was: a name tells keys apart for good, so choose another"
                        )
                    db.execute(insert(_KEYS).values(row))
            except IntegrityError:
                if not left:
                    raise
                continue  # another key of the same name in this very moment, or of the same prefix once in four thousand million
            return text, _info({**row, "revoked_at": None, "last_used_at": None, "disabled_at": None})
        raise AssertionError("the last try returned or raised")

    def keys(self, tenant: str | None = None) -> list[KeyInfo]:
        """All keys of ``tenant`` (None: of all tenants), those that were revoked and have expired, too; the newest last."""
        query = (
            select(_KEYS, _TENANTS.c.disabled_at)
            .join(_TENANTS, _TENANTS.c.name == _KEYS.c.tenant, isouter=True)
            .order_by(_KEYS.c.id)
        )
        if tenant is not None:
            query = query.where(_KEYS.c.tenant == clean(tenant))
        with reading(self.engine) as db:
            return [_info(row) for row in db.execute(query).mappings()]

    def revoke_key(self, prefix: str, tenant: str | None = None) -> KeyInfo:
        """Let the key of that prefix be refused from now on; one that was revoked stays so.

        Raises:
            NotFound: ``tenant`` (None: nobody) has no such key.
        """
        condition = _KEYS.c.prefix == clean(prefix)
        if tenant is not None:
            condition &= _KEYS.c.tenant == clean(tenant)
        now = to_datetime(now_ns())
        with writing(self.engine) as db:
            db.execute(update(_KEYS).where(condition, _KEYS.c.revoked_at.is_(None)).values(revoked_at=now))
            row = db.execute(select(_KEYS).where(condition)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no key {prefix[:64]}")
        return _info({**row, "disabled_at": None})

    def create_tenant(self, name: str, title: str | None = None) -> TenantInfo:
        """A new tenant.

        Raises:
            InvalidInput: that is no name of a tenant.
            Conflict: there is one of that name.
        """
        usable_tenant(name)
        if name == DEFAULT_TENANT:
            raise Conflict(f"the tenant {DEFAULT_TENANT} is always there")
        made = TenantInfo(name, _title(title), to_datetime(now_ns()), None)
        try:
            with writing(self.engine) as db:
                db.execute(
                    insert(_TENANTS).values(
                        name=name, title=made.title, settings={}, created_at=made.created_at
                    )
                )
        except IntegrityError:
            raise Conflict(f"there is a tenant {name} already") from None
        return made

    def tenants(self) -> list[TenantInfo]:
        """All tenants by name; ``default`` first, which needs no making."""
        with reading(self.engine) as db:
            rows = db.execute(select(_TENANTS).order_by(_TENANTS.c.name)).mappings().all()
        found = [TenantInfo(row["name"], row["title"], row["created_at"], row["disabled_at"]) for row in rows]
        home = [each for each in found if each.name == DEFAULT_TENANT]
        others = [each for each in found if each.name != DEFAULT_TENANT]
        return [*(home or [TenantInfo(DEFAULT_TENANT, None, None, None)]), *others]

    def change_tenant(
        self, name: str, *, title: str | None = None, disabled: bool | None = None
    ) -> TenantInfo:
        """Give a tenant another title, disable it (its keys are refused, its data stays) or let it in again.

        Raises:
            NotFound: there is none of that name.
            InvalidInput: ``default`` cannot be disabled.
        """
        if name == DEFAULT_TENANT and disabled:
            raise InvalidInput(f"the tenant {DEFAULT_TENANT} cannot be disabled: revoke its keys", "disabled")
        values: dict[str, Any] = {}
        if title is not None:
            values["title"] = _title(title)
        condition = _TENANTS.c.name == clean(name)
        with writing(self.engine) as db:
            if disabled is not None:
                was = db.scalar(select(_TENANTS.c.disabled_at).where(condition))
                values["disabled_at"] = (was or to_datetime(now_ns())) if disabled else None
            if name == DEFAULT_TENANT and values and not db.scalar(select(func.count()).where(condition)):
                db.execute(insert(_TENANTS).values(name=name, settings={}, created_at=to_datetime(now_ns())))
            if values:
                db.execute(update(_TENANTS).where(condition).values(values))
            row = db.execute(select(_TENANTS).where(condition)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no tenant {name[:64]}")
        return TenantInfo(row["name"], row["title"], row["created_at"], row["disabled_at"])


def _title(title: str | None) -> str | None:
    return None if title is None else clean(title.strip(), 500) or None


def _problem(row: Mapping[str, Any] | RowMapping) -> str | None:
    if row["revoked_at"] is not None:
        return "was revoked"
    if row["expires_at"] is not None and row["expires_at"] <= to_datetime(now_ns()):
        return "has expired"
    if row["disabled_at"] is not None:
        return "is of a tenant that is disabled"
    return None


def _info(row: Mapping[str, Any] | RowMapping) -> KeyInfo:
    scopes: Sequence[str] = row["scopes"]
    return KeyInfo(
        prefix=row["prefix"],
        name=row["name"],
        tenant=row["tenant"],
        scopes=list(scopes),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        problem=_problem(row),
    )
