"""What the routes of credentials take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from records.credentials import KeyInfo, TenantInfo
from scrapewatch.access import ROLES, SCOPES

_Title = Annotated[str, StringConstraints(max_length=500)]


_KEY: dict[str, Any] = {
    "prefix": "1a2b3c4d",
    "name": "spiders in Berlin",
    "tenant": "default",
    "scopes": ["metrics:write"],
    "created_at": "2026-01-05T10:00:00Z",
    "expires_at": "2026-04-05T10:00:00Z",
    "revoked_at": None,
    "last_used_at": "2026-01-05T10:02:00Z",
    "problem": None,
}
_TENANT: dict[str, Any] = {
    "name": "acme",
    "title": "ACME Inc.",
    "created_at": "2026-01-05T10:00:00Z",
    "disabled_at": None,
}


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"name": "spiders in Berlin", "scopes": ["writer"], "expires_in_days": 90}
        },
    )

    name: str = Field(
        min_length=1, max_length=200, description="What it is for; no other key of the tenant had that name."
    )
    scopes: list[str] = Field(
        min_length=1,
        max_length=20,
        description="What it allows: scopes (`monitoring:read`, `metrics:write`, `alerts:write`, `admin:*`) or roles (`viewer`, "
        "`writer`, `operator`, `admin`).",
        json_schema_extra={"items": {"type": "string", "enum": [*SCOPES, *ROLES]}},
    )
    tenant: str | None = Field(
        None, max_length=64, description="Whose it is; by default the tenant of who asks."
    )
    expires_at: AwareDatetime | None = Field(None, description="When it ends; null for never.")
    expires_in_days: float | None = Field(
        None,
        strict=True,
        gt=0,
        le=3_650,
        description="The same as days from now, where `expires_at` is not given.",
    )


class Key(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _KEY})

    prefix: str = Field(
        description="By what it is named: the part of its text that may be shown.", examples=["1a2b3c4d"]
    )
    name: str = Field(description="What it is for.")
    tenant: str = Field(description="Whose it is.")
    scopes: list[str] = Field(description="What it allows.")
    created_at: datetime = Field(description="When it was made.")
    expires_at: datetime | None = Field(description="When it ends; null for never.")
    revoked_at: datetime | None = Field(description="When it was revoked; null where it was not.")
    last_used_at: datetime | None = Field(
        description="When it was last used, to the minute or so; null for never."
    )
    problem: str | None = Field(description="Why it is refused; null while it is good.")

    @classmethod
    def of(cls, info: KeyInfo) -> Key:
        """The key of ``info``."""
        return cls.model_validate(info)


class MadeKey(Key):
    """A key that was just made: the only time that its text is shown."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**_KEY, "last_used_at": None, "key": "sw_1a2b3c4d_…"}}
    )

    key: str = Field(description="The key itself. It is not kept, and cannot be shown again.")


class KeyList(BaseModel):
    """The keys of a tenant."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [_KEY], "next_cursor": None}})

    items: list[Key] = Field(
        description="The keys, the newest last; those that were revoked or have expired, too."
    )
    next_cursor: str | None = Field(None, description="Always null.")


class NewTenant(BaseModel):
    """A tenant to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "acme", "title": "ACME Inc."}}
    )

    name: str = Field(
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        description="By what it is named: small letters, digits and hyphens.",
    )
    title: _Title | None = Field(None, description="What people call it.")


class TenantChange(BaseModel):
    """What is to be another at a tenant; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"disabled": True}})

    title: _Title | None = Field(None, description="What people call it.")
    disabled: bool | None = Field(
        None, strict=True, description="Whether its keys are refused. Its data stays."
    )


class Tenant(BaseModel):
    """Who owns data."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _TENANT})

    name: str = Field(description="By what it is named.")
    title: str | None = Field(description="What people call it.")
    created_at: datetime | None = Field(description="When it was made; null for `default`, which always is.")
    disabled_at: datetime | None = Field(
        description="Since when its keys are refused; null where they are not."
    )

    @classmethod
    def of(cls, info: TenantInfo) -> Tenant:
        """The tenant of ``info``."""
        return cls.model_validate(info)


class TenantList(BaseModel):
    """The tenants."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [_TENANT], "next_cursor": None}})

    items: list[Tenant] = Field(description="The tenants by name, `default` first.")
    next_cursor: str | None = Field(None, description="Always null.")


class Token(BaseModel):
    """A token, as RFC 6749 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "access_token": "eyJ…",
                "token_type": "Bearer",
                "expires_in": 900,
                "scope": "monitoring:read",
            }
        }
    )

    access_token: str = Field(description="The token, a JWT: send it as `Authorization: Bearer …`.")
    token_type: str = Field("Bearer", description="Always `Bearer`.")
    expires_in: int = Field(description="How long it is good, s.", json_schema_extra={"unit": "s"})
    scope: str = Field(description="What it allows, by spaces.")


class SignIn(BaseModel):
    """A key or token to sign in with."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(min_length=1, max_length=8_000, description="An API key, or a token.")


class Who(BaseModel):
    """Who asks."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"tenant": "default", "scopes": ["monitoring:read"], "name": "key:1a2b3c4d"}
        }
    )

    tenant: str = Field(description="Whose data is shown.")
    scopes: list[str] = Field(description="What is allowed.")
    name: str = Field(description="The credential's name in logs: `local` where none is needed yet.")
