"""``python -m influx``: make buckets and tokens, or say what is wrong with them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from influx.bootstrap import OPERATOR_FILE, bootstrap, check, set_up, tenants_in
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import ConfigurationError, ScrapewatchError
from scrapewatch.settings import Settings, load, load_dotenv

ADMIN_TOKEN = "INFLUX_ADMIN_TOKEN"  # noqa: S105 – the name of a setting, not a secret


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all is well, 1 when not."""
    parser = argparse.ArgumentParser(
        prog="python -m influx",
        description="Make the buckets and tokens of scrapewatch in InfluxDB 2, or check them.",
        epilog="Reads INFLUX_URL, INFLUX_ORG and METRICS_RETENTION_DAYS from the environment or .env, and an operator's token from "
        f"{ADMIN_TOKEN} or the file that {ADMIN_TOKEN}_FILE names.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("bootstrap", "make buckets and tokens, and put right what differs; a second run changes nothing"),
        ("check", "say what is wrong, and exit with 1 if anything is; changes nothing"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--tenant",
            action="append",
            metavar="NAME",
            help=f"a tenant; may be repeated (default: {DEFAULT_TENANT})",
        )
        command.add_argument(
            "--secrets-dir",
            type=Path,
            metavar="FOLDER",
            help="folder of the tokens' files (default: secrets in the data folder)",
        )
        if name == "bootstrap":
            command.add_argument(
                "--again",
                action="store_true",
                help="also every tenant that has tokens in that folder already: a new release may want more buckets",
            )
            command.add_argument(
                "--setup",
                type=Path,
                metavar="PASSWORD_FILE",
                help="set up a fresh server first, with the user admin and the password in this file",
            )
    options = parser.parse_args(arguments)
    try:
        return _run(options, load())
    except ScrapewatchError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if settings.influx_url is None:
        raise ConfigurationError(
            "INFLUX_URL is not set: give the URL of InfluxDB 2, such as http://127.0.0.1:8086"
        )
    url, org = settings.influx_url, settings.influx_org
    folder: Path = options.secrets_dir or settings.data_dir / "secrets"
    tenants: Sequence[str] = options.tenant or (DEFAULT_TENANT,)
    operator = _operator_token()
    if options.command == "check":
        own = settings.influx_token.get_secret_value() if settings.influx_token else None
        token = operator or _kept(folder) or own
        if token is None:
            raise ConfigurationError(
                f"there is no token to check with: set {ADMIN_TOKEN} or INFLUX_TOKEN (or …_FILE)"
            )
        problems = check(
            url,
            org,
            token,
            tenants,
            retention_days=settings.metrics_retention_days,
            secrets_dir=folder if options.secrets_dir or folder.is_dir() else None,
            say=_say,
        )
        for problem in problems:
            sys.stderr.write(f"WRONG {problem}\n")
        if not problems:
            _say("all well")
        return 1 if problems else 0
    if options.setup is not None:
        password = _read(options.setup, "--setup")
        operator = set_up(url, org, password, operator_token=operator, secrets_dir=folder, say=_say)
    operator = operator or _kept(folder)
    if operator is None:
        raise ConfigurationError(f"there is no operator's token: set {ADMIN_TOKEN} or {ADMIN_TOKEN}_FILE")
    if options.again:
        tenants = sorted({DEFAULT_TENANT, *tenants, *tenants_in(folder)})
    bootstrap(
        url,
        org,
        operator,
        tenants,
        retention_days=settings.metrics_retention_days,
        secrets_dir=folder,
        say=_say,
    )
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _operator_token() -> str | None:
    environment = {**load_dotenv(Path(".env")), **os.environ}
    if text := environment.get(ADMIN_TOKEN):
        return text
    path = environment.get(f"{ADMIN_TOKEN}_FILE")
    return _read(Path(path), f"{ADMIN_TOKEN}_FILE") if path else None


def _kept(folder: Path) -> str | None:
    """The operator's token that a set-up wrote."""
    file = folder / OPERATOR_FILE
    return _read(file, "the secrets folder") if file.is_file() else None


def _read(path: Path, named_by: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"{named_by} names {path}, which cannot be read: {error.strerror}"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
