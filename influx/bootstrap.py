"""Buckets and tokens in InfluxDB: made once, put right when they differ, left alone when they do not.

A token's text can be read only when it is made (InfluxDB 2.9 keeps hashes), so it goes into a file of the secrets folder. A later run
keeps the token while the file's text still works, and makes another when it does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from influx.buckets import Bucket, wanted
from influx.server import BOOTSTRAP, Server, usable_token
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.problems import ConfigurationError, StoreUnavailable

Say = Callable[[str], None]

OPERATOR_FILE = "operator.token"


@dataclass(frozen=True, slots=True)
class Role:
    """What a token is for: its name, and what it may do with the buckets of its tenant."""

    name: str
    actions: tuple[str, ...]


COLLECTOR = Role("collector", ("read", "write"))
"""Writes points; reads them too, since the roller makes the rollups out of them."""
READER = Role("reader", ("read",))
"""Answers questions: for Grafana and analysts."""
ROLES = (COLLECTOR, READER)


def token_file(folder: Path, tenant: str, role: Role) -> Path:
    """The file that holds the token of ``role`` for ``tenant``."""
    name = f"{role.name}.token" if tenant == DEFAULT_TENANT else f"{quote(tenant, safe='')}.{role.name}.token"
    return folder / name


def tenants_in(folder: Path) -> list[str]:
    """The tenants, but for the default one, that have a collector's token in ``folder``."""
    ending = f".{COLLECTOR.name}.token"
    return sorted(unquote(file.name.removesuffix(ending)) for file in folder.glob(f"*{ending}"))


def bootstrap(
    url: str,
    org: str,
    operator_token: str,
    tenants: Iterable[str] = (DEFAULT_TENANT,),
    *,
    retention_days: int | None = None,
    secrets_dir: Path | None = None,
    say: Say = lambda line: None,
) -> dict[str, str]:
    """Make or put right the buckets and tokens of ``tenants``; tenant → token of its collector.

    With ``secrets_dir`` each token is in a file of it (:func:`token_file`), readable by its owner alone, and a second run changes
    nothing. Without it there is nowhere to keep a token: the collectors' are made anew, and no readers'. ``retention_days`` is
    METRICS_RETENTION_DAYS. ``say`` hears a line for each thing found or changed.

    Raises:
        ConfigurationError: the operator's token does not let it.
        StoreUnavailable: the server does not answer.

    """
    admin = _Admin(Server(url, org), usable_token(operator_token))
    org_id = admin.organisation(say)
    tokens = {}
    for tenant in tenants:
        buckets = wanted(tenant, retention_days)
        ids = [admin.bucket(org_id, bucket, say) for bucket in buckets]
        for role in ROLES if secrets_dir is not None else (COLLECTOR,):
            file = None if secrets_dir is None else token_file(secrets_dir, tenant, role)
            token = admin.token(org_id, tenant, role, buckets, ids, file, say)
            if role is COLLECTOR:
                tokens[tenant] = token
    return tokens


def set_up(
    url: str, org: str, password: str, *, operator_token: str | None, secrets_dir: Path, say: Say
) -> str:
    """Set up a fresh server with the user ``admin``; the operator's token: ``operator_token``, or one that the server makes.

    One that the server makes is written to ``operator.token`` in ``secrets_dir``. A server that is set up already is left alone.

    Raises:
        ConfigurationError: the server is set up already and no token for it is known, or it refuses the password.
        StoreUnavailable: the server does not answer.

    """
    server = Server(url, org)
    kept = secrets_dir / OPERATOR_FILE
    if not server.request("GET", "/api/v2/setup").json().get("allowed"):
        say("server: set up already")
        if operator_token is None and kept.is_file():
            operator_token = kept.read_text(encoding="utf-8")
        if operator_token is None:
            raise ConfigurationError(
                "the server is set up already: give the operator's token in INFLUX_ADMIN_TOKEN or INFLUX_ADMIN_TOKEN_FILE"
            )
        return usable_token(operator_token)
    bucket = wanted(DEFAULT_TENANT)[0]
    request: dict[str, Any] = {
        "username": "admin",
        "password": password,
        "org": org,
        "bucket": bucket.name,
        "retentionPeriodSeconds": bucket.retention,
    }
    if operator_token is not None:
        request["token"] = usable_token(operator_token)
    answer = server.request("POST", "/api/v2/setup", json_body=request)
    if not answer.ok:
        raise ConfigurationError(f"the server refused its set-up: {answer.message}")
    token = str(answer.json()["auth"]["token"])
    say(f"server: set up, with the user admin and the organisation {org}")
    if operator_token is None:
        _write_secret(kept, token)
        say(f"operator: token written to {kept}")
    return token


def check(
    url: str,
    org: str,
    token: str,
    tenants: Iterable[str] = (DEFAULT_TENANT,),
    *,
    retention_days: int | None = None,
    secrets_dir: Path | None = None,
    say: Say = lambda line: None,
) -> list[str]:
    """What is wrong with the server, the buckets or the tokens of ``tenants``, each with what to do; empty when all is well.

    ``token`` is the operator's, or a collector's that sees the buckets of its tenant alone. The tokens' files are checked where
    ``secrets_dir`` is given. ``say`` hears a line for each thing found well.
    """
    try:
        server = Server(url, org)
        found = _server_problems(server, usable_token(token), say)
        if not found:
            admin = _Admin(server, usable_token(token))
            for tenant in tenants:
                found += admin.bucket_problems(wanted(tenant, retention_days), say)
                if secrets_dir is not None:
                    found += _token_problems(server, tenant, secrets_dir, say)
    except (StoreUnavailable, ConfigurationError) as problem:
        return [str(problem)]
    return found


def _server_problems(server: Server, token: str, say: Say) -> list[str]:
    health = server.request("GET", "/health")
    version = str(health.json().get("version", ""))
    if not version.removeprefix("v").startswith("2."):
        return [
            f"{server.name} is {f'version {version}' if version else 'not an InfluxDB 2'}: Flux needs InfluxDB 2, such as 2.9"
        ]
    if health.json().get("status") != "pass":
        return [f"InfluxDB at {server.name} is not healthy: {health.message}"]
    say(f"server: InfluxDB {version} answers at {server.name}")
    flux = server.request(
        "POST",
        "/api/v2/query",
        token,
        query={"org": server.org},
        json_body={"type": "flux", "query": 'import "array" array.from(rows: [{ok: 1}])'},
    )
    if not flux.ok:
        return [str(server.refusal(flux, what="Flux"))]
    say("server: answers Flux")
    return []


def _token_problems(server: Server, tenant: str, folder: Path, say: Say) -> list[str]:
    found = []
    for role in ROLES:
        file = token_file(folder, tenant, role)
        if not file.is_file():
            found.append(f"{file} with the {role.name}'s token is missing: {BOOTSTRAP}")
            continue
        if os.name == "posix" and file.stat().st_mode & 0o077:
            found.append(
                f"{file} can be read by others: chmod 600 it, and {BOOTSTRAP} after deleting it if they may have"
            )
        token = usable_token(file.read_text(encoding="utf-8"))
        wrong = [
            bucket.name for bucket in wanted(tenant) if _rights(server, token, bucket) != set(role.actions)
        ]
        if wrong:
            found.append(
                f"the {role.name}'s token in {file} cannot do just {' and '.join(role.actions)} in {', '.join(wrong)}: {BOOTSTRAP}"
            )
        else:
            say(f"{role.name} of {tenant}: may {' and '.join(role.actions)}, no more")
    return found


def _rights(server: Server, token: str, bucket: Bucket) -> set[str]:
    """What ``token`` may do with ``bucket``, by trying."""
    rights = set()
    listed = server.request("GET", "/api/v2/buckets", token, query={"org": server.org, "name": bucket.name})
    if listed.json().get("buckets"):
        rights.add("read")
    # The right is checked before the lines, of which there are none.
    written = server.request(
        "POST", "/api/v2/write", token, query={"org": server.org, "bucket": bucket.name}, body=b""
    )
    if written.ok:
        rights.add("write")
    return rights


def _write_secret(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made aside with its mode and moved into place, so that it is never there half, nor readable by others.
    aside = file.with_name(f".{file.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    aside.replace(file)


class _Admin:
    """The server's side of buckets and tokens."""

    def __init__(self, server: Server, token: str) -> None:
        self._server = server
        self._token = token

    def _call(self, method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        answer = self._server.request(method, path, self._token, query=query or None, json_body=body)
        if answer.ok:
            return answer.json()
        if answer.status in (401, 403):
            raise ConfigurationError(
                f"InfluxDB at {self._server.name} does not let this token {method} {path}: INFLUX_ADMIN_TOKEN must be an operator's"
            )
        raise self._server.refusal(answer, what=f"{method} {path}")

    def organisation(self, say: Say) -> str:
        name = self._server.org
        answer = self._server.request("GET", "/api/v2/orgs", self._token, query={"org": name})
        for org in answer.json().get("orgs", ()):
            return str(org["id"])
        made = self._call("POST", "/api/v2/orgs", {"name": name})
        say(f"organisation {name}: made")
        return str(made["id"])

    def _find_bucket(self, name: str) -> dict[str, Any] | None:
        """The bucket of that name; one that the token may not see and one that is not there look alike."""
        query = {"org": self._server.org, "name": name}
        answer = self._server.request("GET", "/api/v2/buckets", self._token, query=query)
        if answer.status == 404:
            return None
        if not answer.ok:
            raise self._server.refusal(answer, what=f'bucket "{name}"')
        found: list[dict[str, Any]] = answer.json().get("buckets") or []
        return found[0] if found else None

    def bucket(self, org_id: str, bucket: Bucket, say: Say) -> str:
        """Make or put right one bucket; its id."""
        rules = [
            {"type": "expire", "everySeconds": bucket.retention, "shardGroupDurationSeconds": bucket.shard}
        ]
        there = self._find_bucket(bucket.name)
        if there is None:
            made = self._call(
                "POST",
                "/api/v2/buckets",
                {"orgID": org_id, "name": bucket.name, "description": "scrapewatch", "retentionRules": rules},
            )
            say(f"bucket {bucket.name}: made, keeps {_in_words(bucket.retention, bucket.shard)}")
            return str(made["id"])
        had = _keeping(there)
        if had == (bucket.retention, bucket.shard):
            say(f"bucket {bucket.name}: as it should be")
        else:
            self._call("PATCH", f"/api/v2/buckets/{there['id']}", {"retentionRules": rules})
            say(
                f"bucket {bucket.name}: changed from {_in_words(*had)} to {_in_words(bucket.retention, bucket.shard)}"
                " (shard groups that exist keep their span)"
            )
        return str(there["id"])

    def bucket_problems(self, buckets: Sequence[Bucket], say: Say) -> list[str]:
        found = []
        for bucket in buckets:
            there = self._find_bucket(bucket.name)
            if there is None:
                found.append(f"bucket {bucket.name} is missing, or hidden from this token: {BOOTSTRAP}")
            elif (had := _keeping(there)) != (bucket.retention, bucket.shard):
                found.append(
                    f"bucket {bucket.name} keeps {_in_words(*had)}, and not {_in_words(bucket.retention, bucket.shard)}: {BOOTSTRAP}"
                )
            else:
                say(f"bucket {bucket.name}: keeps {_in_words(bucket.retention, bucket.shard)}")
        return found

    def token(
        self,
        org_id: str,
        tenant: str,
        role: Role,
        buckets: Sequence[Bucket],
        bucket_ids: Sequence[str],
        file: Path | None,
        say: Say,
    ) -> str:
        """The text of the token of ``role`` for ``tenant``: the one in ``file`` while it works, or else a new one."""
        description = f"scrapewatch {role.name} of {tenant}"
        wanted_rights = {(action, bucket_id) for action in role.actions for bucket_id in bucket_ids}
        same_name = [
            a
            for a in self._call("GET", "/api/v2/authorizations", orgID=org_id).get("authorizations", ())
            if a.get("description") == description
        ]
        fitting = [a for a in same_name if a["status"] == "active" and _rights_of(a) == wanted_rights]
        if file is not None and file.is_file() and len(fitting) == len(same_name) == 1:
            text = usable_token(file.read_text(encoding="utf-8"))
            if all(_rights(self._server, text, bucket) == set(role.actions) for bucket in buckets):
                file.chmod(0o600)
                say(f"{role.name} of {tenant}: token as it should be, in {file}")
                return text
        made = self._call(
            "POST",
            "/api/v2/authorizations",
            {
                "orgID": org_id,
                "description": description,
                "permissions": [
                    {"action": action, "resource": {"type": "buckets", "id": bucket_id, "orgID": org_id}}
                    for action, bucket_id in sorted(wanted_rights)
                ],
            },
        )
        text = str(made["token"])
        if file is not None:
            _write_secret(file, text)
        # The old one goes once the new one is kept: a run that is cut off leaves a token that works.
        for old in same_name:
            self._call("DELETE", f"/api/v2/authorizations/{old['id']}")
        done = "replaced" if same_name else "made"
        say(f"{role.name} of {tenant}: token {done}" + ("" if file is None else f", in {file}"))
        return text


def _rights_of(authorization: dict[str, Any]) -> set[tuple[str, str | None]]:
    return {
        (permission["action"], permission["resource"].get("id"))
        for permission in authorization["permissions"]
    }


def _keeping(bucket: dict[str, Any]) -> tuple[int, int]:
    """Retention and span of shard groups of a bucket as InfluxDB describes it, in seconds; 0 is for ever."""
    for rule in bucket.get("retentionRules", ()):
        return int(rule.get("everySeconds", 0)), int(rule.get("shardGroupDurationSeconds", 0))
    return 0, 0


def _in_words(retention: int, shard: int) -> str:
    def days(seconds: int) -> str:
        return f"{seconds / 86_400:g} days"

    return f"{days(retention) if retention else 'everything'} in shard groups of {days(shard)}"
