"""What the README tells a new user to type, typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.stack.running import Up

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
LISTENING = re.compile(r"^(.* -m websockets .*|curl -N .*)$", re.MULTILINE)


def blocks(section: str, language: str = "sh") -> list[str]:
    """What a section of the README has in blocks of ``language``."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


class Shell:
    """Types commands as they stand, in ``folder``, where the README's port is that of ``up``."""

    def __init__(self, up: Up, folder: Path) -> None:
        self._up = up
        self._folder = folder

    def type(self, commands: str) -> str:
        """What ``commands`` print, each of which must succeed; those that listen are stopped after two seconds, as by Ctrl-C."""
        text = LISTENING.sub(r"{ timeout -s INT 2 \1 || true; }", commands)
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self._up.port}")
        text = text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        text = text.replace("curl ", "curl --silent --show-error --fail-with-body ")
        others = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPEWATCH_")}
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env={
                **others,
                "SCRAPEWATCH_DATA_DIR": str(self._up.folder / "data"),
                "SCRAPEWATCH_PORT": str(self._up.port),
            },
            stdin=subprocess.PIPE,  # open to the end, as a terminal is
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as shell:
            assert shell.stdout is not None
            said = shell.stdout.read()
            assert shell.wait(60) == 0, f"{text}\n{said}"
        return said


def test_all_that_the_readme_says_to_type_works(tmp_path: Path) -> None:
    folder = tmp_path / "at"
    folder.mkdir()
    with Up(tmp_path) as up:
        shell = Shell(up, folder)
        (report,) = blocks("Report from your scraper")
        (receipt,) = blocks("Report from your scraper", "json")
        assert json.loads(shell.type(report)) == json.loads(receipt)
        up.drain()
        (python,) = blocks("Report from your scraper", "python")
        ran = subprocess.run(
            [sys.executable, "-c", python.replace("127.0.0.1:8000", f"127.0.0.1:{up.port}")], check=False
        )
        assert ran.returncode == 0
        curls, listening, key, asking = blocks("Ask")
        assert '"session_id":"s1"' in shell.type(curls)
        assert [path.suffix for path in folder.iterdir()] == [".csv"]
        assert shell.type(listening).count("hello") >= 2
        assert '"name":"sql"' in shell.type(key)
        answered = shell.type(asking)
        assert "scraped" in answered and "from(bucket:" in answered
