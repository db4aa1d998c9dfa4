"""``scrapewatch keys`` and ``scrapewatch tenants``: who may ask, made and taken back in the records themselves.

They work whether a stack runs or not, on the records that the settings name: whoever may write to those may do this. A running stack knows
within 6 seconds.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from scrapewatch import settings
from scrapewatch.access import ROLES, SCOPES, scopes_of
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import InvalidInput, NotFound
from scrapewatch.time import to_ns, to_rfc3339
from stack.logs import set_up_logs
from stack.stores import open_records
from stack.terminal import DataOption, err, out, printable

if TYPE_CHECKING:
    from records.credentials import SqlCredentials

keys_commands = typer.Typer()
tenants_commands = typer.Typer()

_LENGTH: Final = re.compile(r"(\d{1,5})([hdwy])")
_HOURS: Final = {"h": 1, "d": 24, "w": 24 * 7, "y": 24 * 365}

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Whose key it is.")]


@keys_commands.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for.", show_default=False)],
    role: Annotated[
        list[str] | None, typer.Option("--role", help=f"What it may do: {', '.join(ROLES)}.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help=f"The same in single scopes: {', '.join(SCOPES)}.")
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    expires: Annotated[
        str, typer.Option("--expires", help="When it ends, from now: 12h, 90d, 8w, 1y, or never.")
    ] = "never",
    as_json: JsonOption = False,
    data_dir: DataOption = None,
) -> None:
    """Make an API key, and show it this once. By default it may only report events (role writer)."""
    scopes = scopes_of([*(role or ()), *(scope or ())] or ["writer"])
    expires_at = _moment(expires)
    with _credentials(data_dir) as store:
        first = not store.any_made()
        text, info = store.create_key(name, scopes=scopes, tenant=tenant, expires_at=expires_at)
    if as_json:
        out.print_json(json.dumps({"key": text, **_as_json(info)}))
        return
    out.print(text, highlight=False, markup=False)
    err.print(
        f"This is the key {printable(info.name)!r} of the tenant {info.tenant} ({', '.join(info.scopes)}). It is not kept and cannot be "
        "shown again; send it as Authorization: Bearer …",
        highlight=False,
        markup=False,
    )
    if first:
        err.print(
            "It is the first one: from now on every request needs a key, also from this machine, and scrapewatch may bind to other "
            "addresses than loopback.",
            highlight=False,
        )


@keys_commands.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")] = None,
    as_json: JsonOption = False,
    data_dir: DataOption = None,
) -> None:
    """Show the keys: by their prefix, their secrets are not kept."""
    with _credentials(data_dir) as store:
        found = store.keys(tenant)
    if as_json:
        out.print_json(json.dumps([_as_json(info) for info in found]))
        return
    if not found:
        err.print("no key was made yet: from this machine none is needed")
        return
    table = Table("prefix", "name", "tenant", "scopes", "made", "ends", "last used", "")
    for info in found:
        table.add_row(
            info.prefix,
            Text(printable(info.name)),
            info.tenant,
            " ".join(info.scopes),
            _day(info.created_at),
            _day(info.expires_at, "never"),
            _day(info.last_used_at, "never"),
            info.problem or "",
        )
    out.print(table)


@keys_commands.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Prefix of the key, or its name.", show_default=False)],
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Whose key it is, where names are alike.")
    ] = None,
    data_dir: DataOption = None,
) -> None:
    """Refuse a key from now on; running stacks do within 6 seconds."""
    with _credentials(data_dir) as store:
        named = [info for info in store.keys(tenant) if key in (info.prefix, info.name)]
        if not named:
            raise NotFound(f"there is no key {printable(key)[:200]!r}; `scrapewatch keys list` shows them")
        if len(named) > 1:
            raise InvalidInput(
                f"{len(named)} keys have that name: name the prefix of one of them "
                f"({', '.join(info.prefix for info in named)})"
            )
        info = store.revoke_key(named[0].prefix, named[0].tenant)
    out.print(f"revoked {info.prefix} ({printable(info.name)})", highlight=False, markup=False)


@tenants_commands.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens.", show_default=False)],
    title: Annotated[str | None, typer.Option("--title", help="What people call it.")] = None,
    data_dir: DataOption = None,
) -> None:
    """Make a tenant, whose data nobody else sees."""
    with _credentials(data_dir) as store:
        store.create_tenant(name, title)
        problem = store.tenant_problem(name)
    out.print(f"made the tenant {name}", highlight=False)
    if problem is not None:
        err.print(f"it can have no key yet, since it {problem}", highlight=False, markup=False)


@tenants_commands.command("list")
def list_tenants(as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """Show the tenants."""
    with _credentials(data_dir) as store:
        found = store.tenants()
    if as_json:
        out.print_json(json.dumps([_as_json(info) for info in found]))
        return
    table = Table("name", "title", "made", "")
    for info in found:
        state = "" if info.disabled_at is None else f"disabled since {_day(info.disabled_at)}"
        table.add_row(info.name, Text(printable(info.title or "")), _day(info.created_at), state)
    out.print(table)


@tenants_commands.command("disable")
def disable_tenant(
    name: Annotated[str, typer.Argument(show_default=False)], data_dir: DataOption = None
) -> None:
    """Refuse all keys of a tenant; its data stays."""
    with _credentials(data_dir) as store:
        store.change_tenant(name, disabled=True)
    out.print(f"disabled {name}", highlight=False, markup=False)


@tenants_commands.command("enable")
def enable_tenant(
    name: Annotated[str, typer.Argument(show_default=False)], data_dir: DataOption = None
) -> None:
    """Let a tenant in again."""
    with _credentials(data_dir) as store:
        store.change_tenant(name, disabled=False)
    out.print(f"enabled {name}", highlight=False, markup=False)


@contextlib.contextmanager
def _credentials(data_dir: Any) -> Iterator[SqlCredentials]:
    """What the records of the settings know of credentials, their tables brought up to date."""
    from stack.access import credentials_of

    chosen = settings.load(data_dir=data_dir)
    set_up_logs(chosen)
    records = open_records(chosen)
    try:
        yield credentials_of(chosen, records.engine)
    finally:
        records.close()


def _moment(length: str) -> datetime | None:
    if length == "never":
        return None
    found = _LENGTH.fullmatch(length)
    if found is None or not int(found[1]):
        raise InvalidInput(
            f"--expires {printable(length)[:20]} is no length of time: write such as 12h, 90d, 8w, 1y, or never"
        )
    return datetime.now(UTC) + timedelta(hours=int(found[1]) * _HOURS[found[2]])


def _day(moment: datetime | None, none: str = "") -> str:
    return none if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _as_json(info: Any) -> dict[str, Any]:
    return {
        name: to_rfc3339(to_ns(value)) if isinstance(value, datetime) else value
        for name, value in asdict(info).items()
    }
