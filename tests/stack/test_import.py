from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.roller import Roller
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import DEFAULT_TENANT, TimeRange
from scrapewatch.time import DAY, HOUR, now_ns
from stack.stores import open_records, open_series
from tests.stack.conftest import Stores
from tests.stack.running import Up
from tests.stack.scrapy_log.written import LOGS, run_log

SHARED = Path(os.environ.get("SCRAPEWATCH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL_LOGS = SHARED / "scrapy_logs"
SAMPLE = LOGS / "scrapy-2.13.log"


def write_logs(folder: Path, runs: int) -> Counter[str]:
    """Logs of ``runs`` runs, from two years ago until yesterday, in three files; what their dumps sum to."""
    folder.mkdir()
    now = datetime.now(UTC).replace(microsecond=0)
    sums: Counter[str] = Counter()
    for k in range(runs):
        # A third each: beyond the minutes, within them, and still live.
        age = (timedelta(days=700), timedelta(days=40), timedelta(days=4))[k % 3]
        items, pages, missing = k % 7, 10 + k % 5, k % 4
        text = run_log(
            now - age + timedelta(minutes=20 * k),
            seconds=90.25,
            crawled=((0, 0, 0), (60, 5, items // 2)),
            item_scraped_count=items,
            response_received_count=pages,
            downloader__response_status_count__200=pages - missing,
            downloader__response_status_count__404=missing,
        )
        with (folder / f"{k % 3}.log").open("a") as file:
            file.write(text)
        sums += Counter(runs=1, items=items, pages=pages, errors=missing)
    return sums


def shown(up: Up) -> Counter[str]:
    """The same sums as the API shows them."""
    sums: Counter[str] = Counter()
    for session in up.sessions():
        sums += Counter(
            runs=1,
            items=session["total_jobs_found"],
            pages=session["total_pages"],
            errors=session["errors_count"],
        )
    return sums


def stored(stores: Stores) -> dict[str, Counter[str]]:
    """The same sums as each tier of the store of points has them, its rollups finished."""
    settings = stores.settings()
    records = open_records(settings)
    series = open_series(settings)
    found: dict[str, Counter[str]] = {}
    try:
        roller = Roller(series, records, holder="test")
        deadline = time.monotonic() + 60
        while records.dirty_windows(1, settled_before={}):
            roller.roll(hours=True)
            assert time.monotonic() < deadline
        now = now_ns()
        for tier in (Tier.FLEET, Tier.FLEET_1M, Tier.FLEET_1H):
            start = now - min(KEEPING[tier].retention, 900 * DAY)
            time_range = TimeRange.widened(start, now + HOUR, HOUR)
            sums: Counter[str] = Counter()
            for question, column, name in (
                ("throughput", "scraped", "items"),
                ("success_rate", "pages", "pages"),
                ("errors", "count", "errors"),
            ):
                table = series.ask(question, {"site": ""}, time_range, tier=tier, tenant=DEFAULT_TENANT)
                sums[name] = sum(row[column] or 0 for row in table.dicts())
            found[tier] = sums
    finally:
        series.close()
        records.close()
    return found


def check(stores: Stores, up: Up, expected: Counter[str]) -> None:
    up.drain()
    assert shown(up) == expected
    assert up.stop() == 0
    found = stored(stores)
    assert found[Tier.FLEET_1H] == Counter({name: n for name, n in expected.items() if name != "runs"})


@pytest.mark.parametrize("wiped", [False, True], ids=["spool kept", "spool wiped"])
def test_an_import_that_was_killed_and_begun_again_counts_exactly(
    stores: Stores, tmp_path: Path, wiped: bool
) -> None:
    logs = tmp_path / "logs"
    expected = write_logs(logs, 60)
    up = Up(tmp_path, stores.environment)
    for share in (0.2, 0.6):
        up.start()
        importing = up.begin("import", "scrapy-log", str(logs), "--url", up.url)
        deadline = time.monotonic() + 60
        while up.metric("scrapewatch_events_accepted_total") < share * 60 * 5 and importing.poll() is None:
            assert time.monotonic() < deadline
        up.kill()
        importing.kill()
        importing.wait()
        if wiped:
            shutil.rmtree(tmp_path / "data" / "spool")
    with up:
        done = up.command("import", "scrapy-log", str(logs), "--url", up.url)
        assert done.returncode == 0, done.stderr
        again = up.command("import", "scrapy-log", str(logs), "--url", up.url)
        assert re.search(r"60 runs: 0 new, 60 known already", again.stdout), again.stdout
        check(stores, up, expected)


def test_an_import_without_a_running_collector_runs_one_for_its_length(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    expected = write_logs(logs, 12)
    up = Up(tmp_path)
    done = up.command("import", "scrapy-log", str(logs))
    assert done.returncode == 0, done.stderr
    with up:
        assert shown(up) == expected
        assert up.metric("scrapewatch_events_spooled") == 0


def test_shifted_history_ends_now(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_logs(logs, 6)
    with Up(tmp_path) as up:
        assert (
            up.command(
                "import", "scrapy-log", str(logs / "0.log"), "--shift-to-now", "--url", up.url
            ).returncode
            == 0
        )
        up.drain()
        newest = datetime.fromisoformat(up.sessions()[0]["completed_at"])
        assert abs(newest - datetime.now(UTC)) < timedelta(minutes=1)
        # The source is known, whatever its times.
        again = up.command("import", "scrapy-log", str(logs / "0.log"), "--shift-to-now", "--url", up.url)
        assert "0 new, 2 known already" in again.stdout


def test_a_run_that_is_cut_off_is_left_out_until_its_log_is_whole(tmp_path: Path) -> None:
    text = run_log(item_scraped_count=3, response_received_count=4)
    cut = tmp_path / "cut.log"
    cut.write_text(text[: text.index("Dumping")])
    with Up(tmp_path) as up:
        refused = up.command("import", "scrapy-log", str(cut), "--url", up.url)
        assert refused.returncode == 1
        assert "left out" in refused.stderr
        cut.write_text(text)
        assert up.command("import", "scrapy-log", str(cut), "--url", up.url).returncode == 0
        up.drain()
        assert shown(up) == Counter(runs=1, items=3, pages=4)


def test_a_run_that_is_refused_as_a_whole_is_told_and_the_others_are_taken(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    expected = write_logs(logs, 3)
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    (logs / "0.log").write_text(run_log(tomorrow, item_scraped_count=1) + (logs / "0.log").read_text())
    with Up(tmp_path) as up:
        done = up.command("import", "scrapy-log", str(logs), "--url", f"{up.url}/")
        assert done.returncode == 1
        assert "4 runs: 3 new, 0 known already" in done.stdout
        assert re.search(r"rejected, 0\.log line 1: .*ahead", done.stderr), done.stderr
        up.drain()
        assert shown(up) == expected


def test_an_interrupted_import_says_that_it_can_go_on(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_logs(logs, 2_000)
    with Up(tmp_path) as up:
        importing = up.begin("import", "scrapy-log", str(logs), "--url", up.url)
        while up.metric("scrapewatch_events_accepted_total") < 20:
            assert importing.poll() is None
        importing.send_signal(signal.SIGINT)
        assert importing.wait(60) == 130


@pytest.mark.parametrize("seconds", [2.0, 4.0, 8.0])
def test_ctrl_c_ends_the_demo_at_any_moment_without_a_traceback(tmp_path: Path, seconds: float) -> None:
    logs = tmp_path / "logs"
    write_logs(logs, 600)
    up = Up(tmp_path)
    with (tmp_path / "demo.log").open("wb") as said:
        demo = up.begin("demo", "--logs", str(logs), output=said)
        time.sleep(seconds)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) in (0, 130)
    assert "Traceback" not in (tmp_path / "demo.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("import", "scrapy-log", "/no/such/file.log"), "there is no file"),
        (("import", "scrapy-log", "/dev/null"), "neither a file nor a folder"),
        (("import", "scrapy-log", "logs/spider.log.gz"), "compressed: unpack it first"),
        (
            ("import", "scrapy-log", str(SAMPLE), "--url", "nonsense"),
            r"^scrapewatch: --url nonsense is no URL of a collector.*\n$",
        ),
        (
            ("import", "scrapy-log", __file__, "--url", "http://127.0.0.1:9"),
            "no run of Scrapy|no collector answers",
        ),
        (("up", "--host", "0.0.0.0"), "SCRAPEWATCH_TRUST_NETWORK"),
        (("collector",), "SCRAPEWATCH_INFLUX_URL"),
        (("up", "--data-dir", f"{__file__}/below"), "--data-dir"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence_that_tells_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = Up(tmp_path).command(*arguments)
    assert done.returncode == 1
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_reported_with_what_to_do(tmp_path: Path) -> None:
    with Up(tmp_path) as up:
        done = up.command("up", "--port", str(up.port), "--data-dir", str(tmp_path / "other"))
        assert done.returncode == 1
        assert "--port" in done.stderr


@pytest.mark.skipif(not REAL_LOGS.is_dir(), reason="shared/data is absent: the real logs cannot be imported")
def test_the_real_logs_lead_to_their_sessions_and_items_and_importing_them_again_changes_nothing(
    tmp_path: Path,
) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(REAL_LOGS.glob("*.log")))

    def dumped(name: str) -> int:
        return sum(int(n) for n in re.findall(rf"'{name}': (\d+)", text))

    with Up(tmp_path) as up:
        for _ in range(2):
            done = up.command("import", "scrapy-log", str(REAL_LOGS), "--url", up.url)
            assert done.returncode == 0, done.stderr
            up.drain()
            found = shown(up)
            assert found["runs"] == text.count("Dumping Scrapy stats") == 1_737
            assert found["items"] == dumped("item_scraped_count") == 5_288
            assert found["pages"] == dumped("response_received_count")
