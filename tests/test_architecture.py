from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]

STANDARD = sys.stdlib_module_names | {"scrapewatch", "__main__"}


def committed() -> list[str]:
    """The files of the project, as git knows them, or nothing in a copy without its history."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    return [name for name in names if name and (ROOT / name).is_file()]


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **more
    )


def test_imports_point_inward() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    linted = run("-c", program)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_room_is_linted_typed_and_measured() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    tool = PROJECT["tool"]
    assert rooms == set(ROOMS)
    assert rooms <= set(tool["mypy"]["packages"])
    assert rooms == set(tool["coverage"]["run"]["source"])
    layers = " | ".join(tool["importlinter"]["contracts"][0]["layers"])
    assert rooms == set(layers.split(" | "))


@pytest.mark.parametrize("module", ["scrapewatch", "scrapewatch.client", "scrapewatch.command"])
def test_what_a_scraper_imports_pulls_in_nothing_but_the_standard_library(module: str) -> None:
    # -S: without the site's packages, whose start-up files import things of their own.
    program = (
        f"import json, sys; sys.path.insert(0, '.'); import {module}; print(json.dumps(sorted(sys.modules)))"
    )
    listed = run("-S", "-c", program, env={"PATH": os.defpath})
    assert listed.returncode == 0, listed.stderr
    loaded = {name.partition(".")[0] for name in json.loads(listed.stdout)}
    assert loaded <= STANDARD
    assert "scrapewatch" in loaded


def test_importing_a_module_connects_to_nothing_and_writes_nothing() -> None:
    program = """
import importlib, pkgutil, sys

def watch(event, arguments):
    if event in ("socket.connect", "sqlite3.connect", "subprocess.Popen") or (
        event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    ):
        sys.exit(f"{module}: {event} {arguments}")

rooms = [importlib.import_module(room) for room in sys.argv[1:]]
sys.addaudithook(watch)
for room in rooms:
    for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        module = found.name
        # Alembic runs its migrations; they are no modules to import.
        if not module.endswith("__main__") and ".migrations" not in module:
            importlib.import_module(module)
"""
    # Coverage of that process would write when it ends.
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    imported = run("-B", "-c", program, *ROOMS, env=quiet)
    assert imported.returncode == 0, imported.stderr


def test_the_published_package_is_the_kernel_alone(tmp_path: Path) -> None:
    built = run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    tops = {name.partition("/")[0] for name in names}
    version = PROJECT["project"]["version"]
    assert tops == {"scrapewatch", f"scrapewatch-{version}.dist-info"}
    assert {"scrapewatch/client.py", "scrapewatch/command.py"} <= set(names)
    needed = re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)
    assert [line for line in needed if "extra ==" not in line] == []


def test_the_version_is_said_once_and_the_same() -> None:
    import scrapewatch

    assert scrapewatch.__version__ == PROJECT["project"]["version"]
    assert f"scrapewatch:{scrapewatch.__version__}\n" in (ROOT / "docker-compose.yml").read_text("utf-8")


def test_a_module_is_named_for_its_topic() -> None:
    nameless = re.compile(r"(^|/)_?(utils?|helpers?|common|core|misc|shared|base)(\.py|/)")
    assert [name for name in committed() if name.endswith(".py") and nameless.search(name)] == []


def test_nothing_of_the_real_input_is_in_the_project() -> None:
    data = ROOT.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("../shared/data is not here, so what must not be committed is not known")
    mine = committed()
    names = {Path(name).name for name in mine}
    sizes = {(ROOT / name).stat().st_size for name in mine}
    for path in data.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert path.name not in names
            assert path.stat().st_size not in sizes or path.stat().st_size < 1_000


def test_no_path_of_a_machine_and_no_secret_is_in_the_project() -> None:
    private = re.compile(
        r"/(home|Users)/[a-z]+/|BEGIN (RSA |EC |OPENSSH )?PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}"
    )
    found = []
    for name in committed():
        text = (ROOT / name).read_bytes()
        if b"\0" not in text:
            found += [f"{name}: {match[0]}" for match in private.finditer(text.decode("utf-8", "replace"))]
    assert [line for line in found if not line.startswith("tests/test_architecture.py")] == []
