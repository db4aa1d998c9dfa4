"""`scrapewatch spool`: on a spool that a collector holds, and on one that nobody holds."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from collector.spool import Spool
from collector.spool_file import path_in
from scrapewatch.measurements import Tier
from scrapewatch.ports import Rejected
from scrapewatch.time import now_ns
from stack.cli import main
from tests.collector.conftest import running_collector
from tests.collector.events import event, request
from tests.collector.outboxes import outbox_of
from tests.stack.running import Up

HOSTILE = "jobs,site=\x1b[31m[red]x scraped=1i 1795384426195290348"
NOWHERE = {"INFLUX_URL": "http://127.0.0.1:9", "INFLUX_TOKEN": "none"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the settings."""
    folder = tmp_path / "data"
    monkeypatch.setenv("SCRAPEWATCH_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def stores(data: Path) -> Path:
    """The data folder, with the stores that a collector used there before."""
    with running_collector(data):
        pass
    return data


def append(spool: Spool, *counts: int) -> None:
    sent = request(
        [event("job_scraped", {"site": "a", "count": count}, time=now_ns()) for count in counts], at=now_ns()
    )
    spool.append(
        "default", sent.times, sent.events, key=None, body=b"", source=None, received_at=sent.received_at
    ).result(10)


def left_behind(data: Path, *counts: int) -> None:
    """Events in the spool that no store has, as after a kill."""
    spool = Spool(data / "spool")
    append(spool, *counts)
    spool.close()


def rejected(data: Path) -> None:
    """A flush of one event, which was rejected as a whole."""
    from collector.fold import fold

    spool = Spool(data / "spool")
    append(spool, 7)
    cut = outbox_of(spool).uncut(10)
    assert cut is not None
    number = outbox_of(spool).next_number()
    outbox_of(spool).persist(number, cut, fold(cut.requests, {}, collector_no=0, number=number))
    outbox_of(spool).passed(
        "series", [number], {number: [Rejected("default", Tier.FLEET, HOSTILE, 1, "it holds\nodd things")]}
    )
    outbox_of(spool).passed("records", [number])
    outbox_of(spool).passed("windows", [number])
    spool.close()


def status(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["spool", "status", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["accepted"] == found["delivered"] + found["spooled"] + found["dead_lettered"]
    return found


def test_the_status_is_told_beside_the_collector_that_holds_the_spool_and_without_one(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_collector(data) as running:
        running.post([{"session_id": "s1", "metric": "job_scraped", "value": {"site": "a"}}] * 4)
        running.drain()
        assert status(capsys)["held_by"] == str(os.getpid())
    left_behind(data, 1, 1)
    found = status(capsys)
    assert (found["held_by"], found["delivered"], found["spooled"], found["uncut"]) == (None, 4, 2, 2)
    assert main(["spool", "status"]) == 0
    assert "nobody" in capsys.readouterr().out


def test_draining_beside_a_collector_ends_once_it_has_brought_everything_to_the_stores(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_collector(data) as running:
        running.post([{"session_id": "s1", "metric": "job_scraped", "value": {"site": "a"}}] * 50)
        assert main(["spool", "drain"]) == 0
        assert "holds the spool" in capsys.readouterr().err
        assert status(capsys)["delivered"] >= 50


def test_draining_without_a_collector_brings_each_event_to_the_stores_once(
    stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(stores, *range(1, 101))
    assert main(["spool", "drain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"drained": 100, "left": 0, "held_up_by": None}
    assert main(["spool", "drain"]) == 0
    assert status(capsys)["spooled"] == 0
    with running_collector(stores) as running:
        assert running.counts("total_jobs_found") == 5_050


def test_draining_to_a_store_that_is_down_says_so_and_leaves_everything_where_it_is(
    stores: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(stores, 1, 2, 3)
    with monkeypatch.context() as down:
        for name, value in NOWHERE.items():
            down.setenv(name, value)
        assert main(["spool", "drain", "--timeout", "4"]) == 1
        said = capsys.readouterr().err
        assert "3 events wait still" in said
        assert "does not take connections" in said
    assert status(capsys)["spooled"] == 3
    assert main(["spool", "drain"]) == 0
    with running_collector(stores) as running:
        assert running.counts("total_jobs_found") == 6


def test_draining_with_settings_that_name_other_stores_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(data, 1)
    assert main(["spool", "drain"]) == 1
    assert "run this with the settings of the collector" in capsys.readouterr().err
    assert not (data / "series.duckdb").exists()
    assert status(capsys)["spooled"] == 1


def test_watching_a_collector_that_ends_before_all_is_stored_ends_with_what_to_do(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holding = Spool(data / "spool")
    append(holding, 1)
    ending = threading.Timer(1.0, holding.close)
    ending.start()
    assert main(["spool", "drain"]) == 1
    ending.join()
    assert "has ended: start it again" in capsys.readouterr().err


def test_an_interrupted_drain_says_that_nothing_is_lost(
    stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(stores, 1, 2)
    log = tmp_path / "drain.log"
    with log.open("wb") as said:
        draining = Up(tmp_path, NOWHERE).begin("spool", "drain", output=said)
    while "no collector holds the spool" not in log.read_text():
        assert draining.poll() is None
        time.sleep(0.02)
    time.sleep(1.0)
    draining.send_signal(signal.SIGINT)
    assert draining.wait(60) == 130
    assert "interrupted: what is not in the stores yet stays in the spool" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert status(capsys)["spooled"] == 2


def test_what_a_dead_letter_holds_cannot_steer_the_terminal(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected(data)
    assert main(["spool", "dead-letters"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]" in shown
    assert main(["spool", "dead-letters", "--json"]) == 0
    (letter,) = json.loads(capsys.readouterr().out)
    assert (letter["line"], letter["reason"]) == (HOSTILE, "it holds\nodd things")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "their ids, or --all"),
        (("1", "--all"), "their ids, or --all"),
        (("1", "8", "9"), "there is no dead letter 8, 9"),
    ],
)
def test_a_replay_of_what_is_not_there_marks_nothing(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    rejected(data)
    assert main(["spool", "replay", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert status(capsys)["wanted"] == 0


def test_a_replay_that_a_store_holds_up_is_done_by_the_next_collector(
    stores: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected(stores)
    with monkeypatch.context() as down:
        for name, value in NOWHERE.items():
            down.setenv(name, value)
        assert main(["spool", "replay", "--all", "--timeout", "3"]) == 1
        assert "sent by the next collector" in capsys.readouterr().err
    assert status(capsys)["wanted"] == 1
    with running_collector(stores) as running:
        deadline = time.monotonic() + 30
        while running.collector.spool.status().dead_lettered:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert status(capsys)["dead_letters"] == 0


def test_a_folder_without_a_spool_and_a_spool_of_another_format_are_told(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spool", "status"]) == 1
    assert "there is no spool in" in capsys.readouterr().err
    left_behind(data, 1)
    for written, says in ((4, "knows up to 3"), (1, "start a collector on it")):
        with sqlite3.connect(path_in(data / "spool")) as db:
            db.execute("UPDATE meta SET value = ? WHERE name = 'format'", (written,))
        db.close()
        assert main(["spool", "status"]) == 1
        assert says in capsys.readouterr().err
