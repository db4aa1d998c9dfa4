"""Where the figures go: ``bench/results/NAME.json``, each with the machine, the versions and the command that made it."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from scrapewatch import __version__
from tests.influxd import find_influxd

console: Final = Console(width=None if sys.stdout.isatty() else 150)

RESULTS: Final = Path(__file__).parent / "results"


def surroundings(**versions: str) -> dict[str, Any]:
    """The machine, the versions, the commit and the command of a run that ends now."""
    return {
        "machine": f"{os.cpu_count()} × {_processor()}, {_memory_gb()} GB, {platform.system()} {platform.release()}",
        "versions": {
            "scrapewatch": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("uvicorn", "pydantic", "msgspec")},
            **versions,
        },
        "revision": _revision(),
        "command": " ".join(["python -m", f"bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def influxd_version() -> str:
    """The version of the InfluxDB that is measured with, or nothing where there is none."""
    binary = find_influxd()
    if binary is None:
        return ""
    said = subprocess.run([binary, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found[0] if found else said.strip()


def write(name: str, document: dict[str, Any]) -> Path:
    """Write ``results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def read(name: str) -> dict[str, Any] | None:
    """What was written, or None."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _revision() -> str:
    """The commit that was measured, with a + where files differ from it other than those that benchmarks write."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=RESULTS.parents[1], capture_output=True, text=True, check=False
        )

    written = (":!bench/results", ":!docs/performance.md")
    changed = git("diff", "--quiet", "HEAD", "--", ".", *written).returncode
    return git("rev-parse", "--short", "HEAD").stdout.strip() + ("+" if changed else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
