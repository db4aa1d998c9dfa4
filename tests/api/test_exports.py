"""Exports, against the events that were sent."""

from __future__ import annotations

import csv
import http.client
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.exports.formats import neutral
from api.exports.tables import TABLES, ExportReader, ExportTable, Rows, Selection
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, to_rfc3339
from tests.api.stacks import Served, Stack, event

PATH = "/api/v1/monitoring/export/metrics"
FORMULAS = ("=1+1", "+1-2", "-1+2|cmd", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1")


def fill(stack: Stack, hours: int = 2) -> list[dict[str, Any]]:
    """Events of the last ``hours`` hours at two sites, one with a name that wants to be something else."""
    start = now_ns() - hours * HOUR
    events = [event("session_started", {"sites": ["indeed"], "search_term": "=python"}, time=start)]
    for k in range(hours * 60):
        at = start + k * MINUTE + SECOND
        site = ("indeed", 'a "b",\\c\n=d')[k % 2]
        events.append(event("job_scraped", {"site": site, "count": k % 7}, time=at))
        events.append(
            event(
                "page_processed", {"site": site, "status": 200 if k % 3 else 403, "duration": 0.25}, time=at
            )
        )
        if k % 5 == 0:
            events.append(event("error_occurred", {"site": site, "type": "403"}, time=at))
    stack.store(events)
    stack.roll()
    return events


def jobs_of(events: list[dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in events:
        if each["metric"] == "job_scraped":
            found[each["value"]["site"]] += each["value"]["count"]
    return found


def test_json_holds_each_table_with_its_columns_and_what_the_events_add_up_to(
    stack: Stack, client: TestClient
) -> None:
    events = fill(stack)
    answer = client.get(
        f"{PATH}?timeframe=6h&metrics=throughput,errors,sessions,site_executions,error_groups,postings"
    )
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found["interval_seconds"] == 60
    assert list(found["metrics"]) == [
        *("throughput", "errors", "sessions", "site_executions", "error_groups", "postings")
    ]
    items = found["metrics"]["throughput"]["items"]
    by_site: Counter[str] = Counter()
    for item in items:
        by_site[item["site"].replace("\\n", "\n")] += item["scraped"]
    assert sum(by_site.values()) == sum(jobs_of(events).values())
    assert by_site["indeed"] == jobs_of(events)["indeed"]
    assert [item["time"] for item in items] == sorted(item["time"] for item in items)
    columns = found["metrics"]["throughput"]["columns"]
    assert [column["name"] for column in columns] == [c.name for c in QUESTIONS["throughput"].columns]
    assert {"name": "time", "type": "time", "unit": "ns", "description": "start of the window"} in columns
    assert sum(item["count"] for item in found["metrics"]["errors"]["items"]) == sum(
        each["metric"] == "error_occurred" for each in events
    )
    (session,) = found["metrics"]["sessions"]["items"]
    assert session["search_term"] == "=python"
    assert session["total_jobs_found"] == sum(jobs_of(events).values())
    assert session["begun_at"].endswith("Z")
    assert len(found["metrics"]["site_executions"]["items"]) == 2
    assert sum(item["count"] for item in found["metrics"]["error_groups"]["items"]) == sum(
        each["metric"] == "error_occurred" for each in events
    )
    assert found["metrics"]["postings"]["items"] == []


def test_csv_is_one_table_in_which_no_cell_is_a_formula_and_numbers_stay_numbers(
    stack: Stack, client: TestClient
) -> None:
    events = fill(stack)
    for k, title in enumerate(FORMULAS):
        job = {"title": title, "company": "-12.5", "skills": ["=a", "b"], "is_remote": True, "url": f"u{k}"}
        stack.store([event("job_scraped", {"site": "indeed", "job": job})])
    stack.roll()
    answer = client.get(f"{PATH}?format=csv&timeframe=6h&metrics=throughput,sessions,postings")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(rows[0])[:3] == ["metric", "time", "site"]
    for row in rows:
        for cell in row.values():
            assert neutral(cell) == cell
    postings = [row for row in rows if row["metric"] == "postings"]
    assert sorted(row["title"] for row in postings) == sorted(f"'{title}" for title in FORMULAS)
    assert {row["company"] for row in postings} == {"-12.5"}
    assert {row["skills"] for row in postings} == {"'=a; b"}
    assert {row["is_remote"] for row in postings} == {"true"}
    assert [row["search_term"] for row in rows if row["metric"] == "sessions"] == ["'=python"]
    scraped = sum(int(row["scraped"] or 0) for row in rows if row["metric"] == "throughput")
    assert scraped == sum(jobs_of(events).values()) + len(FORMULAS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-5", "-5"),
        ("+4.5e-3", "+4.5e-3"),
        ("-5-5", "'-5-5"),
        ("a=1", "a=1"),
        ("", ""),
        ("@x", "'@x"),
        ("\n=1", "'\n=1"),
    ],
)
def test_text_that_begins_like_a_formula_has_a_quote_before_it_unless_it_is_a_number(
    text: str, shown: str
) -> None:
    assert neutral(text) == shown


def test_prometheus_gets_families_that_its_own_parser_reads(stack: Stack, client: TestClient) -> None:
    events = fill(stack)
    answer = client.get(f"{PATH}?format=prometheus&timeframe=6h&metrics=throughput,response_times,errors")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert set(families) >= {"scrapewatch_throughput_scraped", "scrapewatch_errors_count"}
    assert not any("_h0" in name for name in families)
    scraped = families["scrapewatch_throughput_scraped"]
    assert scraped.type == "gauge"
    assert sum(sample.value for sample in scraped.samples) == sum(jobs_of(events).values())
    assert {sample.labels["site"] for sample in scraped.samples} >= {"indeed"}
    assert all(sample.timestamp * 1000 % 60_000 == 0 for sample in scraped.samples)  # type: ignore[operator]
    names = [line.split(" ")[2] for line in answer.text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    refused = client.get(f"{PATH}?format=prometheus&metrics=throughput,sessions")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "query.metrics"


def test_parquet_holds_the_same_rows_with_types(stack: Stack, client: TestClient, tmp_path: Path) -> None:
    events = fill(stack)
    job = {
        "title": "engineer",
        "skills": ["a", "b"],
        "is_remote": False,
        "posted_at": "2026-01-05T10:00:00.5Z",
    }
    stack.store([event("job_scraped", {"site": "indeed", "job": job})])
    stack.roll()
    answer = client.get(f"{PATH}?format=parquet&timeframe=6h&metrics=throughput,sessions,postings")
    path = tmp_path / "export.parquet"
    path.write_bytes(answer.content)
    with duckdb.connect() as db:
        types = {row[0]: row[1] for row in db.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()}
        assert (types["time"], types["scraped"], types["skills"], types["is_remote"]) == (
            *("TIMESTAMP WITH TIME ZONE", "BIGINT", "VARCHAR[]"),
            "BOOLEAN",
        )
        assert db.execute(f"SELECT sum(scraped) FROM '{path}' WHERE metric = 'throughput'").fetchall() == [
            (sum(jobs_of(events).values()) + 1,)
        ]
        assert db.execute(
            f"SELECT title, skills, is_remote, epoch_ms(posted_at) FROM '{path}' WHERE metric = 'postings'"
        ).fetchall() == [("engineer", ["a", "b"], False, 1_767_607_200_500)]


@pytest.mark.parametrize("made", ["json", "csv", "prometheus", "parquet"])
def test_an_export_of_nothing_is_an_empty_one(client: TestClient, made: str) -> None:
    answer = client.get(f"{PATH}?format={made}")
    assert answer.status_code == 200
    extension = {"prometheus": "prom"}.get(made, made)
    name = answer.headers["content-disposition"]
    assert name.startswith('attachment; filename="scrapewatch-20')
    assert name.endswith(f'Z.{extension}"')


@pytest.mark.parametrize("made", ["json", "csv", "parquet"])
def test_every_table_can_be_exported_in_any_format(stack: Stack, client: TestClient, made: str) -> None:
    fill(stack, hours=1)
    answer = client.get(f"{PATH}?format={made}&timeframe=1h&metrics={','.join(TABLES)}")
    assert answer.status_code == 200
    assert not {"session_metrics", "site_totals"} & TABLES.keys()


def test_what_is_answered_for_an_hour_at_once_is_exported_for_days(stack: Stack, client: TestClient) -> None:
    now = now_ns()
    for days in (0, 2, 4):
        at = now - days * DAY - HOUR
        stack.store(
            [event("job_scraped", {"site": "indeed", "count": 1 + days}, time=at, session=f"s{days}")]
        )
    found = client.get(f"{PATH}?timeframe=7d&metrics=session_pace").json()["metrics"]["session_pace"]["items"]
    assert [(row["session_id"], row["scraped"]) for row in found] == [("s4", 5), ("s2", 3), ("s0", 1)]


def test_a_range_is_given_by_its_ends(stack: Stack, client: TestClient) -> None:
    fill(stack, hours=3)
    start = now_ns() // HOUR * HOUR - HOUR
    query = f"metrics=throughput&from={to_rfc3339(start)}&to={to_rfc3339(start + HOUR)}&interval=1h"
    found = client.get(f"{PATH}?{query}").json()
    assert (found["start"], found["stop"]) == (to_rfc3339(start), to_rfc3339(start + HOUR))
    assert {item["time"] for item in found["metrics"]["throughput"]["items"]} == {to_rfc3339(start)}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("metrics=nothing", "query.metrics"),
        ("metrics=,", "query.metrics"),
        ("metrics=session_metrics", "query.metrics"),
        ("from=2026-01-05T10:00:00Z&to=2026-01-05T09:00:00Z", "query.from"),
        ("from=2026-01-05T10:00:00", "query.from"),
        ("from=2000-01-01T00:00:00Z", "query.from"),
        ("from=9999-01-01T00:00:00Z&to=9999-12-31T00:00:00Z", "query.from"),
        ("format=xml", "query.format"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_field(
    client: TestClient, query: str, field: str
) -> None:
    answer = client.get(f"{PATH}?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("made", ["json", "csv", "prometheus", "parquet"])
def test_a_store_that_is_down_is_told_before_anything_is_sent(
    stack: Stack, client: TestClient, made: str
) -> None:
    fill(stack, hours=1)
    stack.series.close()
    answer = client.get(f"{PATH}?format={made}")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:scrapewatch:problem:store-unavailable"
    if made != "prometheus":
        assert client.get(f"{PATH}?format={made}&metrics=sessions").status_code == 200
        assert client.get(f"{PATH}?format={made}&metrics=sessions,errors").status_code == 503


def test_an_api_that_cannot_write_to_its_data_folder_exports_all_the_same(
    stack: Stack, client: TestClient, tmp_path: Path
) -> None:
    fill(stack, hours=1)
    (tmp_path / "exports").write_text("in the way")
    for made in ("csv", "prometheus", "parquet"):
        assert client.get(f"{PATH}?format={made}").status_code == 200


def test_records_are_read_page_by_page_and_each_comes_once(
    stack: Stack, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("records.exports.PAGE", 30)
    now = now_ns() - MINUTE
    events = []
    for k in range(100):
        at = now - k // 10 * SECOND
        session = f"s{k}"
        job = {"title": f"title {k}"}
        events.append(event("job_scraped", {"site": "indeed", "job": job}, time=at, session=session))
        events.append(event("error_occurred", {"site": "indeed", "type": "403"}, time=at, session=session))
    stack.store(events)
    found = client.get(f"{PATH}?metrics=sessions,site_executions,error_groups,postings").json()["metrics"]
    for name in ("sessions", "site_executions", "error_groups"):
        ids = [item["session_id"] for item in found[name]["items"]]
        assert sorted(ids) == sorted(f"s{k}" for k in range(100)), name
    assert sorted(item["title"] for item in found["postings"]["items"]) == sorted(
        f"title {k}" for k in range(100)
    )


class Endless(ExportReader):
    """Reads rows for ever, and counts how often."""

    def __init__(self) -> None:
        self.read_ = 0
        self.closed = threading.Event()

    def read(self, table: ExportTable, selection: Selection) -> Iterator[Rows]:
        row = tuple("x" if column.type == "string" else 1 for column in table.columns)
        try:
            while True:
                self.read_ += 1
                yield [row] * 2_000
        finally:
            self.closed.set()


@pytest.mark.parametrize("made", ["csv", "parquet", "prometheus"])
def test_a_client_that_leaves_ends_the_work_and_leaves_no_files(
    stack: Stack, tmp_path: Path, made: str
) -> None:
    endless = Endless()
    stack.services.exports._reader = endless
    with Served(stack.app) as address, closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", f"{PATH}?format={made}&metrics=errors", headers={"Host": "localhost"})
        with connection.getresponse() as answer:
            assert answer.status == 200
            if made == "csv":
                assert answer.read(1_000)
        connection.close()
        assert endless.closed.wait(10)
        done = endless.read_
        time.sleep(0.1)
        assert endless.read_ == done
    left = [path for path in (tmp_path / "exports").rglob("*") if path.is_file()]
    assert left == []


def test_a_slow_reader_does_not_make_the_export_pile_up(stack: Stack) -> None:
    endless = Endless()
    stack.services.exports._reader = endless
    with Served(stack.app) as address, closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", f"{PATH}?format=csv&metrics=errors", headers={"Host": "localhost"})
        with connection.getresponse() as answer:
            assert answer.read(1_000)
            made = [-1, 0]
            for _ in range(40):
                # What fits into the buffers of the connection is made, and no more.
                made = [made[1], endless.read_]
                if made[0] == made[1]:
                    break
                time.sleep(0.25)
            assert made[0] == made[1]
        connection.close()
        assert endless.closed.wait(10)


def test_a_store_that_fails_half_way_breaks_the_connection(stack: Stack) -> None:
    fill(stack, hours=1)

    class Failing(Endless):
        def read(self, table: ExportTable, selection: Selection) -> Iterator[Rows]:
            rows = super().read(table, selection)
            yield next(rows)
            yield next(rows)
            stack.series.close()
            yield from ExportReader.read(stack_reader, table, selection)

    stack_reader = stack.services.exports._reader
    stack.services.exports._reader = Failing()
    with Served(stack.app) as address, closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", f"{PATH}?format=json&metrics=errors", headers={"Host": "localhost"})
        with connection.getresponse() as answer:
            assert answer.status == 200
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
