"""``scrapewatch grafana``: dashboards and data sources for a Grafana that runs, over its HTTP API."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from scrapewatch import settings
from scrapewatch.problems import ConfigurationError
from stack.logs import set_up_logs
from stack.terminal import err, out, plain, printable

if TYPE_CHECKING:
    from grafana.server import Server
    from grafana.sync import Step
    from scrapewatch.settings import Settings

grafana_commands = typer.Typer()

_COLOURS: Final = {"+": "green", "~": "yellow", "-": "red"}
_MOST_DETAILS: Final = 30

CheckOption = Annotated[
    bool,
    typer.Option("--dry-run", "--check", help="Only show what differs; exit status 1 where anything does."),
]


@grafana_commands.command()
def sync(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    check: CheckOption = False,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Set the data sources' secrets anew: they cannot be compared.")
    ] = False,
    home: Annotated[
        bool, typer.Option("--home", help="Make the overview the home page of the organisation, too.")
    ] = False,
    dashboards: Annotated[
        Path | None, typer.Option("--dashboards", help="Folder of the dashboards; none: those of here.")
    ] = None,
) -> None:
    """Bring the Grafana at GRAFANA_URL to these dashboards and data sources, with GRAFANA_TOKEN. What differs is shown first."""
    from grafana.sync import carry_out, plan, unreached
    from grafana.wanted import wanted

    chosen = _settings(dashboards)
    server = _server(chosen)
    server.version()
    files = wanted(chosen)
    found = plan(server, files, secrets=secrets, home=home)
    _note(found.notes)
    _show(found.steps)
    if found.steps and check:
        raise typer.Exit(1)
    if not found.steps:
        out.print(f"{server.name} is up to date: there is nothing to do", highlight=False, markup=False)
    elif yes or typer.confirm(f"Do this at {server.name}?"):
        done = sum(1 for _ in carry_out(server, found.steps))
        out.print(f"{done} done at {server.name}", highlight=False, markup=False)
    else:
        out.print("nothing was changed")
        raise typer.Exit(1)
    if not check:
        _note(unreached(server, files.sources))


@grafana_commands.command()
def token(
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            help="Sign in as this administrator, with the password on standard input, instead of GRAFANA_TOKEN.",
        ),
    ] = None,
) -> None:
    """Make the token by which the collector pushes to Grafana Live, and show it this once. An earlier one ends."""
    from grafana.live_token import make

    server = _server(_settings(None), user)
    server.version()
    # Alone on its line, for files and pipes.
    typer.echo(make(server))
    err.print(
        "Give it to the collector as GRAFANA_TOKEN. It may look and push, nothing else.", highlight=False
    )


def _settings(dashboards: Path | None) -> Settings:
    chosen = settings.load(grafana_dashboards=dashboards)
    set_up_logs(chosen)
    return chosen


def _server(chosen: Settings, user: str | None = None) -> Server:
    from grafana.server import Server

    if chosen.grafana_url is None:
        raise ConfigurationError("GRAFANA_URL is not set: name the Grafana, such as http://127.0.0.1:3000")
    if user is not None:
        password = (
            typer.prompt(f"Password of {user}", hide_input=True, err=True)
            if sys.stdin.isatty()
            else sys.stdin.readline().rstrip("\r\n")
        )
        return Server(chosen.grafana_url, login=(user, password))
    if chosen.grafana_token is None:
        raise ConfigurationError(
            "GRAFANA_TOKEN is not set: make a service account in Grafana under Administration, with the role Admin, and a token of it"
        )
    return Server(chosen.grafana_url, token=chosen.grafana_token.get_secret_value())


def _note(lines: Iterable[str]) -> None:
    for line in lines:
        err.print(printable(line), highlight=False, markup=False)


def _show(steps: Sequence[Step]) -> None:
    for step in steps:
        out.print(f"[{_COLOURS[step.sign]}]{step.sign}[/] {plain(printable(step.what))}", highlight=False)
        for detail in step.details[:_MOST_DETAILS]:
            out.print(f"    {printable(detail)}", highlight=False, markup=False)
        if len(step.details) > _MOST_DETAILS:
            out.print(f"    … and {len(step.details) - _MOST_DETAILS} more", highlight=False)
