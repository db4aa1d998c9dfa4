"""The command ``scrapewatch`` where the servers are: ``up``, ``collector``, ``api``, ``demo``, ``import``, ``send``, ``spool``, ….

What takes long to load (the servers, the stores, the settings' validation) is imported by the commands that need it: the others answer
in the time that the terminal's own libraries take.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn

import scrapewatch.command
from scrapewatch import __version__
from scrapewatch.access import READ, WRITE
from scrapewatch.client import Client, SendError
from scrapewatch.problems import ConfigurationError, InvalidInput, ScrapewatchError, StoreUnavailable
from stack.parts import API, COLLECTOR, url_of
from stack.scrapy_log import importing
from stack.terminal import INTERRUPTED, DataOption, bar, ending_by_ctrl_c, err, out, plain

if TYPE_CHECKING:
    from scrapewatch.settings import Settings
    from stack.serve import Server


class _Later(typer.core.TyperGroup):
    """Commands of a module that is loaded for them alone."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return list(self._loaded().list_commands(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them."""
        return self._loaded().get_command(ctx, cmd_name)

    def _loaded(self) -> Any:
        raise NotImplementedError


class _SpoolGroup(_Later):
    def _loaded(self) -> Any:
        from stack.spool_cli import spool_commands

        return typer.main.get_command(spool_commands)


class _KeysGroup(_Later):
    def _loaded(self) -> Any:
        from stack.keys_cli import keys_commands

        return typer.main.get_command(keys_commands)


class _TenantsGroup(_Later):
    def _loaded(self) -> Any:
        from stack.keys_cli import tenants_commands

        return typer.main.get_command(tenants_commands)


class _GrafanaGroup(_Later):
    def _loaded(self) -> Any:
        from stack.grafana_cli import grafana_commands

        return typer.main.get_command(grafana_commands)


commands = typer.Typer(
    name="scrapewatch",
    help="Monitoring for scraping teams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
imports = typer.Typer(help="Bring history in.", no_args_is_help=True)
commands.add_typer(imports, name="import")
commands.add_typer(
    typer.Typer(
        cls=_SpoolGroup,
        help="Look into a collector's spool, empty it, and send again what a store had rejected.",
        no_args_is_help=True,
    ),
    name="spool",
)
commands.add_typer(
    typer.Typer(cls=_KeysGroup, help="Make, list and revoke API keys.", no_args_is_help=True), name="keys"
)
commands.add_typer(
    typer.Typer(
        cls=_TenantsGroup, help="Make and list tenants, who see nothing of each other.", no_args_is_help=True
    ),
    name="tenants",
)
commands.add_typer(
    typer.Typer(
        cls=_GrafanaGroup,
        help="Bring dashboards and data sources to a Grafana that runs.",
        no_args_is_help=True,
    ),
    name="grafana",
)

HostOption = Annotated[str | None, typer.Option("--host", help="Address to bind to.")]
PortOption = Annotated[int | None, typer.Option("--port", help="Port to bind to.")]

DEMO_SEED: Final = 20_260_105


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status. What goes wrong is said in a sentence that tells what to do."""
    try:
        commands(None if arguments is None else list(arguments), standalone_mode=True)
    except (ScrapewatchError, SendError, ConnectionError) as error:
        err.print(f"[bold red]scrapewatch:[/] {plain(error)}", highlight=False)
        return 1
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


@commands.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        out.print(f"scrapewatch {__version__}", highlight=False)
        raise typer.Exit


@commands.command()
def up(host: HostOption = None, port: PortOption = None, data_dir: DataOption = None) -> None:
    """Run collector, API and sampler in one process, on the embedded stores or on those of the settings."""
    _serve_until_stopped(_settings(host, port, data_dir), (COLLECTOR, API))


@commands.command()
def collector(host: HostOption = None, port: PortOption = None, data_dir: DataOption = None) -> None:
    """Run the collector alone; needs InfluxDB and a database that the API shares."""
    _serve_until_stopped(_shared(_settings(host, port, data_dir)), (COLLECTOR,))


@commands.command()
def api(host: HostOption = None, port: PortOption = None, data_dir: DataOption = None) -> None:
    """Run the API and the live page alone, on the stores that the collectors write to."""
    _serve_until_stopped(_shared(_settings(host, port, data_dir)), (API,))


@commands.command()
def demo(
    logs: Annotated[
        Path | None, typer.Option("--logs", help="A folder of Scrapy logs to import, too.")
    ] = None,
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataOption = None,
    seed: Annotated[int, typer.Option(help="Another seed makes another job site.")] = DEMO_SEED,
) -> None:
    """Run the product, let an orchestrator crawl a generated job site and report live, until Ctrl-C."""
    files = importing.logs_in([logs]) if logs is not None else []
    _run(_demo(_settings(host, port, data_dir), files, seed))


@commands.command()
def send(
    url: Annotated[str, typer.Option(help="The collector.")] = "http://127.0.0.1:8000",
    backfill: Annotated[bool, typer.Option(help="The events are history, older than 7 days.")] = False,
) -> None:
    """Send events as JSON, a list or one a line, from standard input."""
    raise typer.Exit(scrapewatch.command.send(url, sys.stdin.read(), backfill=backfill))


@imports.command("scrapy-log")
def import_scrapy_log(
    files: Annotated[list[Path], typer.Argument(help="Logs, or folders of *.log.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option(help="The collector; by default the local one, started for the import if none runs."),
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option(help="Name of the site; again for each spider, in their order.")
    ] = None,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move history so that it ends now.")
    ] = False,
    with_cut_off: Annotated[
        bool,
        typer.Option(
            "--with-cut-off", help="Take runs without a stats dump, too: only of logs that will not go on."
        ),
    ] = False,
    data_dir: DataOption = None,
) -> None:
    """Turn Scrapy logs into sessions, site executions and points. Importing the same run again changes nothing."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"--url {url} is no URL of a collector: write one such as http://127.0.0.1:8000"
        )
    plan = _read(importing.logs_in(files), site or [], shift_to_now=shift_to_now, with_cut_off=with_cut_off)
    if plan.cut_off:
        err.print(
            f"{plan.cut_off} runs without a stats dump are left out: import them once their log is whole, "
            "or with --with-cut-off if it never will be",
            highlight=False,
        )
    if not plan.runs:
        raise InvalidInput(
            "no run of Scrapy is in these files: there are no LogStats lines and no stats dumps"
        )
    try:
        with ending_by_ctrl_c():
            done = _import_runs(plan, url, _settings(None, None, data_dir))
    except KeyboardInterrupt:
        err.print("interrupted: what was sent stays, and counts once; import again to go on", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(1 if done.rejected else 0)


def _import_runs(plan: importing.Plan, url: str | None, chosen: Settings) -> importing.Imported:
    given = url is not None
    url = (url or url_of(chosen.host, chosen.port)).rstrip("/")
    if _answers(url):
        done = _send(plan, url, _key_for(url, chosen))
        _tell(done, url)
        return done
    if given:
        raise ConfigurationError(f"no collector answers at {url}; start one with `scrapewatch up`")
    err.print(f"No collector at {url}: running one for the import.", highlight=False)
    with _stack_for_a_while(chosen) as own:
        done = _send(plan, own, _key_for(own, chosen))
    _tell(done, None)
    return done


# --- questions


@commands.command("ask")
def ask_question(
    question: Annotated[
        str | None, typer.Argument(help="Its name, such as throughput; none lists all.", show_default=False)
    ] = None,
    parameters: Annotated[
        list[str] | None, typer.Argument(help="NAME=VALUE each, such as site=indeed.", show_default=False)
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(
            help="How far back: 24h (if nothing is said, or as far as is answered at once), 30m, 7d …"
        ),
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", help="Where the range begins, RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where it ends; now if not given.")] = None,
    every: Annotated[
        str | None, typer.Option(help="Length of a window, such as 5m; fitting if not given.")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    flux: Annotated[
        bool, typer.Option("--flux", help="Print the question in Flux instead, to paste elsewhere.")
    ] = False,
    url: Annotated[
        str | None, typer.Option("--url", help="The stack to ask; none: InfluxDB, where it is set.")
    ] = None,
    data_dir: DataOption = None,
) -> None:
    """Ask a question of docs/questions.md: of a running stack, or of the InfluxDB that the settings name."""
    from scrapewatch.questions import QUESTIONS
    from scrapewatch.ranges import range_of
    from scrapewatch.time import now_ns
    from stack import ask

    if question is None:
        for name, known in sorted(QUESTIONS.items()):
            wants = " ".join(
                f"{each.name}=…" if each.default is None else f"[{each.name}=…]" for each in known.parameters
            )
            out.print(f"[bold]{name}[/] {plain(wants)}\n    {plain(known.description)}", highlight=False)
        return
    if format_ not in ask.FORMATS:
        raise InvalidInput(f"a format is one of {', '.join(ask.FORMATS)}")
    longest = QUESTIONS[question].longest if question in QUESTIONS else None
    time_range = range_of(last=last, start=begin, stop=end, every=every, longest=longest, now=now_ns())
    asking = ask.Asking(question, ask.parameters_of(parameters or ()), time_range)
    if flux:
        typer.echo(ask.as_flux(asking))
        return
    chosen = _settings(None, None, data_dir)
    asked_at = ask.settle(chosen, url)
    answer = (
        ask.of_stores(asking, chosen)
        if asked_at is None
        else ask.over_http(asking, asked_at, _key_for(asked_at, chosen, READ))
    )
    if format_ == "json":
        typer.echo(ask.as_json(answer))
    elif format_ == "csv":
        typer.echo(ask.as_csv(answer))
    elif not answer.rows:
        err.print("There is nothing in that range.", highlight=False)
    else:
        # Into a file or a pipe as wide as it is.
        shown = out if out.is_terminal else Console(width=10_000)
        shown.print(ask.as_table(answer, question))


# --- settings and life


def _settings(host: str | None, port: int | None, data_dir: Path | None) -> Settings:
    from scrapewatch import settings
    from stack.logs import set_up_logs

    chosen = settings.load(host=host, port=port, data_dir=data_dir)
    set_up_logs(chosen)
    return chosen


def _shared(chosen: Settings) -> Settings:
    if chosen.influx_url is None or chosen.database_url is None:
        raise ConfigurationError(
            "collector and API in processes of their own need stores that both can open: set SCRAPEWATCH_INFLUX_URL and "
            "SCRAPEWATCH_DATABASE_URL, or run both in one process with `scrapewatch up`"
        )
    return chosen


def _run(work: Any) -> None:
    from stack.serve import run_async

    # Ctrl-C is how a server is ended, also while it starts.
    with contextlib.suppress(KeyboardInterrupt):
        run_async(work)


async def _until_stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            # A second one ends the process at once: what is acknowledged is in the spool, as it is after a kill.
            signal.signal(number, signal.SIG_DFL)


def _serve_until_stopped(chosen: Settings, parts: Sequence[str]) -> None:
    async def work() -> None:
        async with _announced(chosen, parts):
            await _until_stopped()

    _run(work())


@contextlib.asynccontextmanager
async def _announced(chosen: Settings, parts: Sequence[str]) -> AsyncIterator[Server]:
    from stack.serve import serving

    async with serving(chosen, parts) as server:
        where = "InfluxDB" if chosen.influx_url else f"embedded, in {chosen.data_dir.absolute()}"
        out.print(
            f"\n  [bold]scrapewatch {__version__}[/] is up. Ctrl-C ends it; nothing acknowledged is lost.\n"
        )
        if API in parts:
            out.print(f"  live page    {server.url}/", highlight=False)
            out.print(f"  sessions     {server.url}/api/v1/monitoring/sessions", highlight=False)
            out.print(f"  API          {server.url}/docs", highlight=False)
        if COLLECTOR in parts:
            out.print(f"  events to    {server.url}/api/v1/monitoring/metrics", highlight=False)
        if chosen.grafana_url:
            out.print(f"  Grafana      {chosen.grafana_url}", highlight=False)
        out.print(f"  points       {where}\n", highlight=False)
        yield server
        err.print("\nstopping: what is spooled is brought to the stores …", highlight=False)


async def _demo(chosen: Settings, files: Sequence[Path], seed: int) -> None:
    from stack.demo.orchestrator import run_orchestrator
    from stack.demo.site import serve_site

    async with _announced(chosen, (COLLECTOR, API)) as server, serve_site(seed) as site_url:
        stop, ended = asyncio.Event(), threading.Event()
        out.print(f"  a demo crawl of {site_url} reports now; look at the live page\n", highlight=False)
        key = server.app.state.own_key
        crawling = asyncio.create_task(
            run_orchestrator(site_url, server.url, seed=seed, stop=stop, api_key=key)
        )
        importing_logs = (
            asyncio.create_task(asyncio.to_thread(_import, files, server.url, ended, key)) if files else None
        )
        stopped = asyncio.create_task(_until_stopped())
        try:
            await asyncio.wait({stopped, crawling}, return_when=asyncio.FIRST_COMPLETED)
            if crawling.done():
                crawling.result()
            await stopped
        finally:
            stop.set()
            ended.set()
            await asyncio.gather(crawling, return_exceptions=True)
            if importing_logs is not None:
                await importing_logs


class _Ended(Exception):
    """Whoever waited for it wants it no more."""


def _import(files: Sequence[Path], url: str, ended: threading.Event, key: Callable[[], str]) -> None:
    try:
        _tell(_send(_read(files, [], ended=ended), url, key(), ended=ended), url)
    except _Ended:
        err.print("the logs are imported in part; the next import goes on", highlight=False)
    except (ScrapewatchError, SendError, ConnectionError) as error:
        err.print(f"[bold red]the logs were not imported:[/] {plain(error)}", highlight=False)


# --- importing


def _read(
    files: Sequence[Path],
    sites: Sequence[str],
    *,
    shift_to_now: bool = False,
    with_cut_off: bool = False,
    ended: threading.Event | None = None,
) -> importing.Plan:
    with bar() as shown:
        task = shown.add_task("reading", total=sum(path.stat().st_size for path in files))

        def progress(size: int) -> None:
            _unless(ended)
            shown.update(task, advance=size)

        return importing.read(
            files,
            sites=sites,
            shift_to=importing.now() if shift_to_now else None,
            with_cut_off=with_cut_off,
            progress=progress,
        )


def _send(
    plan: importing.Plan, url: str, key: str | None, *, ended: threading.Event | None = None
) -> importing.Imported:
    with bar(MofNCompleteColumn()) as shown:
        task = shown.add_task("sending runs", total=len(plan.runs))

        def progress(done: importing.Imported) -> None:
            _unless(ended)
            shown.update(task, completed=done.runs)

        return importing.send(plan, Client(url, api_key=key), progress=progress)


def _key_for(url: str, chosen: Settings, scope: str = WRITE) -> str | None:
    from stack.access import key_for

    return key_for(url, chosen, scope)


def _unless(ended: threading.Event | None) -> None:
    if ended is not None and ended.is_set():
        raise _Ended


def _tell(done: importing.Imported, url: str | None) -> None:
    out.print(
        f"{done.runs} runs: {done.new_runs} new, {done.known_runs} known already; "
        f"{done.accepted} events accepted, {done.duplicates} duplicates, {len(done.rejected)} rejected",
        highlight=False,
    )
    for line in done.rejected[:20]:
        err.print(f"rejected, {line}", highlight=False, markup=False)
    for line in done.warnings[:5]:
        err.print(f"odd, {line}", highlight=False, markup=False)
    if len(done.warnings) > 5:
        err.print(f"… and {len(done.warnings) - 5} more oddities", highlight=False)
    if url is not None:
        out.print(f"look at {url}/api/v1/monitoring/sessions", highlight=False)


def _answers(url: str) -> bool:
    import urllib3

    try:
        return bool(urllib3.request("GET", f"{url}/healthz", timeout=3.0, retries=False).status == 200)
    except urllib3.exceptions.HTTPError:
        return False


@contextlib.contextmanager
def _stack_for_a_while(chosen: Settings) -> Iterator[str]:
    """The stack in a thread, drained at the end; its URL. Ctrl-C ends it without waiting for what a store does not take."""
    from stack.serve import run_async, serving

    can_stop, started, hurry, ended = (threading.Event() for _ in range(4))
    state: dict[str, Any] = {}
    quiet = chosen.model_copy(update={"sampler": False, "port": 0})

    async def work() -> None:
        state["loop"], state["stop"] = asyncio.get_running_loop(), asyncio.Event()
        can_stop.set()
        async with serving(quiet, (COLLECTOR, API)) as server:
            state["url"] = server.url
            started.set()
            await state["stop"].wait()
            await asyncio.to_thread(_drain, server.app.state.collector.spool.status, hurry)

    def run() -> None:
        try:
            run_async(work())
        except BaseException as error:
            state["error"] = error
        finally:
            can_stop.set()
            started.set()
            ended.set()

    thread = threading.Thread(target=run, name="stack")

    def end() -> None:
        can_stop.wait()
        with contextlib.suppress(KeyError, RuntimeError):  # it never began, or has ended by itself
            state["loop"].call_soon_threadsafe(state["stop"].set)
        # Not join() alone: Ctrl-C within it makes CPython 3.11 take the thread for ended (python/cpython#90882).
        ended.wait()
        thread.join()

    try:
        thread.start()
        started.wait()
        if "error" not in state:
            yield state["url"]
        end()
    except BaseException as error:
        # Whatever it was, and whenever: the interpreter waits for the thread, so it must be told.
        if isinstance(error, KeyboardInterrupt):
            hurry.set()
            err.print("\nstopping: what is sent is in the spool, the next start brings it to the stores …")
        end()
        raise
    if "error" in state:
        raise state["error"]


def _drain(status: Callable[[], Any], hurry: threading.Event) -> None:
    """Wait until both stores have everything, with a bar, or until there is a ``hurry``."""
    with bar(MofNCompleteColumn()) as shown:
        total = status().spooled
        task = shown.add_task("storing events", total=total)
        last, since = total, time.monotonic()
        while left := status().spooled:
            shown.update(task, completed=max(total - left, 0))
            if left < last:
                last, since = left, time.monotonic()
            if time.monotonic() - since > 60:
                raise StoreUnavailable(
                    f"{left} events wait in the spool: the next start of scrapewatch brings them in"
                )
            if hurry.wait(0.2):
                return
        shown.update(task, completed=total)
