"""Keys in the records of a test, by what they are for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from records.credentials import SqlCredentials
from records.engine import writing
from records.models import ApiKey
from scrapewatch.access import scopes_of
from scrapewatch.keys import hash_of


def make_key(
    engine: Engine, *scopes: str, tenant: str = "default", name: str | None = None, made: str = "good"
) -> str:
    """A key that allows ``scopes`` (or roles); ``made`` is ``good``, ``revoked`` or ``expired``. Its tenant is made with it."""
    store = SqlCredentials(engine)
    if store.tenant_problem(tenant) == "is not known":
        store.create_tenant(tenant)
    text, info = store.create_key(
        name or f"{' '.join(scopes)} {made} {len(store.keys())}", scopes=scopes_of(scopes), tenant=tenant
    )
    if made == "revoked":
        store.revoke_key(info.prefix)
    elif made == "expired":
        with writing(engine) as db:
            db.execute(
                update(ApiKey)
                .where(ApiKey.key_hash == hash_of(text))
                .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
            )
    return text


def bearer(key: str) -> dict[str, str]:
    """The headers that show a key."""
    return {"Authorization": f"Bearer {key}"}
