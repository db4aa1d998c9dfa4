"""``scrapewatch ask``, of a stack that runs and of InfluxDB."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from influx.bootstrap import bootstrap
from influx.store import InfluxStore
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, Flush
from scrapewatch.time import HOUR, now_ns, to_rfc3339, window_start
from stack.cli import main
from tests.api.stacks import Served, event, make_stack
from tests.influxd import Influxd

AT = window_start(now_ns(), HOUR) - HOUR
RANGE = ("--from", to_rfc3339(AT), "--to", to_rfc3339(AT + HOUR // 2), "--every", "30m")
"""Too short for the rollups, which nobody makes here."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a stack with a few events is served."""
    stack = make_stack(tmp_path_factory.mktemp("ask"))
    stack.store(
        [
            event("job_scraped", {"site": "indeed", "count": 1_234}, time=AT),
            event("job_scraped", {"site": "=cmd()", "count": 2}, time=AT),
            event("page_processed", {"site": "[bold]x", "duration": 0.5, "status": 200}, time=AT),
        ]
    )
    with Served(stack.app) as address:
        yield f"http://{address}"
    stack.series.close()
    stack.records.close()


def test_rows_come_as_a_table_for_people(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "throughput", "site=indeed", *RANGE, "--url", url]) == 0
    shown = capsys.readouterr().out
    assert "1,234" in shown and "indeed" in shown and to_rfc3339(AT) in shown
    assert main(["ask", "response_times", *RANGE, "--url", url]) == 0
    shown = capsys.readouterr().out
    assert "duration_sum (s)" in shown and "[bold]x" in shown
    assert "time" in shown and "duration_max (s)" in shown


def test_rows_come_as_json_and_csv_for_programs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "throughput", *RANGE, "--url", url, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["site"], row["scraped"]) for row in rows] == [("=cmd()", 2), ("indeed", 1_234)]
    assert main(["ask", "throughput", *RANGE, "--url", url, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["site"], row["scraped"]) for row in rows] == [("'=cmd()", "2"), ("indeed", "1234")]
    assert main(["ask", "errors", *RANGE, "--url", url, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["ask", "errors", *RANGE, "--url", url]) == 0
    assert "nothing" in capsys.readouterr().err


def test_who_names_no_question_sees_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask"]) == 0
    shown = capsys.readouterr().out
    assert "session_metrics session_id=…" in shown and "throughput [site=…]" in shown


def test_flux_is_printed_with_all_that_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "throughput", 'site=a"b', *RANGE, "--flux"]) == 0
    shown = capsys.readouterr().out
    assert (
        'site: "a\\"b"' in shown
        and "every: 1800s" in shown
        and "v." not in shown
        and "timeRange" not in shown
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("throughput", "indeed"), "NAME=VALUE"),
        (("throughput", "sitee=indeed"), "it has: site"),
        (("session_metrics",), "session_id"),
        (("secrets",), "there are: "),
        (("throughput", "--format", "xml"), "table, json, csv"),
        (("throughput", "--last", "soon"), "24h"),
        (("throughput", "--url", "ftp://a"), "http://"),
        (("throughput", "--url", "http://127.0.0.1:9"), "scrapewatch up"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", *arguments, "--data-dir", str(tmp_path)]) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_influxdb_is_asked_straight_away_where_the_settings_name_one(
    influxd: Influxd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    org = "ask"
    tokens = bootstrap(influxd.url, org, influxd.token)
    store = InfluxStore(influxd.url, org, tokens["default"])
    store.write(Flush(0, 1, [Batch("default", Tier.FLEET, [f"jobs,site=indeed scraped=7i {AT}"], [1])]))
    store.close()
    for name, value in {"URL": influxd.url, "ORG": org, "TOKEN": tokens["default"]}.items():
        monkeypatch.setenv(f"INFLUX_{name}", value)
    try:
        assert main(["ask", "throughput", *RANGE, "--format", "json", "--data-dir", str(tmp_path)]) == 0
        assert [row["scraped"] for row in json.loads(capsys.readouterr().out)] == [7]
    finally:
        influxd.delete_org(org)
