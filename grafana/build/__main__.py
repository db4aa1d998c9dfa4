"""Writes ``grafana/dashboards/*.json``; with ``--check`` it says what is not as it would be written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from grafana.build.dashboards import ALL

FOLDER: Final = Path(__file__).parents[1] / "dashboards"


def files() -> dict[str, str]:
    """Name of a file → its text."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.json(), indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
        for dashboard in ALL
    }


def main(arguments: list[str]) -> int:
    """Write them, or check them; the status to exit with."""
    wanted = files()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if "--check" in arguments:
        for name in wrong:
            sys.stderr.write(
                f"grafana/dashboards/{name} is not what grafana/build makes: run `make dashboards`\n"
            )
        return 1 if wrong else 0
    for name in wrong:
        path = FOLDER / name
        if name in wanted:
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
