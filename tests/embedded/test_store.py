"""What is the embedded store's alone: its file, its process, its disk."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from embedded.store import EmbeddedStore, question_sql
from scrapewatch.line_protocol import Point
from scrapewatch.measurements import KEEPING, Tier
from scrapewatch.ports import Batch, Flush, TimeRange
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import DAY, HOUR, MINUTE, SECOND, now_ns, window_start

BASE = window_start(now_ns(), DAY) - DAY
DAYS = TimeRange(BASE - 30 * DAY, BASE + 60 * DAY, DAY)

# Writes one flush after another, each of 200 lines in two tiers, and tells after each that it is durable.
WRITER = """
import sys
from pathlib import Path
from embedded.store import EmbeddedStore
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, Flush

store = EmbeddedStore(Path(sys.argv[1]))
base = int(sys.argv[2])
number = 0
while True:
    number += 1
    fleet = [f"jobs,site=s{k} scraped=1i {base + number}" for k in range(100)]
    sessions = [f"jobs,session_id=x,site=s{k} scraped=1i {base + number}" for k in range(100)]
    flush = Flush(0, number, [
        Batch("a", Tier.FLEET, fleet, [1] * 100), Batch("b", Tier.SESSIONS, sessions, [1] * 100)
    ])
    assert store.write(flush).accepted == 200
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "points.db"


@pytest.fixture
def store(path: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(path)
    yield opened
    opened.close()


def flush(*lines: str, tier: Tier = Tier.FLEET, tenant: str = "a", number: int = 1) -> Flush:
    return Flush(0, number, [Batch(tenant, tier, lines, [1] * len(lines))])


def scraped(store: EmbeddedStore, tier: Tier = Tier.FLEET, tenant: str = "a") -> int:
    rows = store.ask("throughput", {"site": ""}, DAYS, tier=tier, tenant=tenant).dicts()
    return sum(row["scraped"] for row in rows)


def test_points_outlive_the_process_that_wrote_them(path: Path) -> None:
    first = EmbeddedStore(path)
    first.write(flush(f"jobs,site=a,extra=x scraped=3i,Extra=1.5 {BASE}"))
    first.close()
    second = EmbeddedStore(path)
    assert scraped(second) == 3
    second.write(flush(f"jobs,site=a,extra=x scraped=4i,Extra=2.5 {BASE}"))
    assert scraped(second) == 4
    refused = second.write(flush(f"jobs,site=a Extra=1i {BASE}")).rejected
    assert "Extra" in refused[0].reason
    second.close()


def test_a_killed_process_leaves_whole_flushes_and_each_that_it_had_acknowledged(path: Path) -> None:
    for attempt in range(3):
        base = BASE + attempt * HOUR
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(base)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = 0
            while acknowledged < 5 + 3 * attempt:
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            acknowledged = int(([str(acknowledged), *writer.stdout.read().split()])[-1])
        store = EmbeddedStore(path)
        hour = TimeRange(base, base + HOUR, HOUR)
        found = [
            sum(r["scraped"] for r in store.ask(question, bound, hour, tier=tier, tenant=tenant).dicts())
            for question, bound, tier, tenant in (
                ("throughput", {"site": ""}, Tier.FLEET, "a"),
                ("session_metrics", {"session_id": "x"}, Tier.SESSIONS, "b"),
            )
        ]
        store.close()
        # One more may have been committed before its number could be told.
        assert found[0] == found[1]
        assert found[0] in (100 * acknowledged, 100 * (acknowledged + 1))


def test_a_file_that_another_process_holds_is_refused_with_what_to_do(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(BASE)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(ConfigurationError, match="held by another process"):
            EmbeddedStore(path)
        writer.kill()
        writer.stdout.read()
    EmbeddedStore(path).close()


def test_a_file_of_another_kind_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but somebody's notes\n" * 1000)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        EmbeddedStore(path)
    assert path.read_text().startswith("not a database")


def test_a_file_of_a_later_version_is_refused(path: Path) -> None:
    EmbeddedStore(path).close()
    with duckdb.connect(str(path)) as file:
        file.execute("UPDATE layout SET version = 99")
    with pytest.raises(ConfigurationError, match="later version"):
        EmbeddedStore(path)


def test_a_file_from_before_a_field_was_registered_gets_its_column(path: Path) -> None:
    first = EmbeddedStore(path)
    first.write(flush(f"jobs,site=a scraped=3i,saved=1i {BASE}"))
    first.close()
    with duckdb.connect(str(path)) as file:
        file.execute("ALTER TABLE t1_fleet.jobs DROP COLUMN invalid")
        file.execute("DROP TABLE t1_fleet.pages")
    second = EmbeddedStore(path)
    assert (
        second.write(flush(f"jobs,site=a invalid=2i {BASE}", f"pages,site=a count=1i {BASE}")).accepted == 2
    )
    [row] = second.ask("throughput", {"site": ""}, DAYS, tier=Tier.FLEET, tenant="a").dicts()
    assert (row["scraped"], row["saved"], row["invalid"]) == (3, 1, 2)
    assert len(second.ask("success_rate", {"site": ""}, DAYS, tier=Tier.FLEET, tenant="a").rows) == 1
    second.close()


def test_tenants_with_any_id_are_told_apart(store: EmbeddedStore) -> None:
    tenants = ["a", "A", "", "t1", "main", 'x"; DROP SCHEMA t1_fleet; --', "…/../", "🦀", "t" * 1000]
    for count, tenant in enumerate(tenants, 1):
        store.write(flush(f"jobs,site=a scraped={count}i {BASE}", tenant=tenant))
    assert [scraped(store, tenant=tenant) for tenant in tenants] == list(range(1, len(tenants) + 1))
    assert scraped(store, tenant="nobody") == 0


def test_names_that_differ_only_in_case_stay_apart(store: EmbeddedStore) -> None:
    lines = [
        f'custom,name=n,Name=m value=1.0,VALUE=2i,Value="three",^value=true {BASE}',
        f"Custom,name=n value=5i {BASE}",
        f"jobs,SITE=x,site=a scraped=1i {BASE}",
        f"jobs,SITE=y,site=a scraped=1i,time=7i,tag:x=8i {BASE}",
        f"table:x,a=b c=1i {BASE}",
        f'odd"\\ name,t"ag=v f"ield=1i {BASE}',
    ]
    for number in (1, 2):
        result = store.write(flush(*lines, number=number))
        assert (result.accepted, result.kept) == (len(lines), None)
    assert scraped(store) == 2
    windows = store.windows("custom", DAYS, tier=Tier.FLEET, tenant="a")
    assert windows == [Point("custom", {"name": "n", "Name": "m"}, {"value": 1.0}, BASE)]


def test_numbers_that_have_no_place_in_the_file_are_rejected(store: EmbeddedStore) -> None:
    bad = [
        f"jobs,site=a scraped={2**63}i {BASE}",
        f"jobs,site=a scraped=1i {2**63}",
        f"host,host=a load_1=1e999 {BASE}",
        f"host,host=a load_1=nan {BASE}",
        f"host,host=a load_1=1i {BASE}",
        f"host,host=a load_1=true {BASE}",
        f'host,host=a load_1="1" {BASE}',
    ]
    result = store.write(flush(*bad, f"jobs,site=a scraped={2**63 - 1}i {BASE}"))
    assert [rejected.line for rejected in result.rejected] == bad
    assert (result.accepted, result.kept) == (1, None)
    assert scraped(store) == 2**63 - 1


def test_points_overwrite_across_days_as_within_a_second(store: EmbeddedStore) -> None:
    days = [f"jobs,site=s{k} scraped=1i,saved=1i {BASE - k * HOUR}" for k in range(200)]
    store.write(flush(*days, tier=Tier.FLEET_1M))
    again = [line.replace("scraped=1i,saved=1i", "scraped=2i") for line in days[::2]]
    new = [f"jobs,site=t scraped=5i {BASE - k * HOUR}" for k in range(10)]
    store.write(flush(*again, *new, tier=Tier.FLEET_1M))
    assert scraped(store, Tier.FLEET_1M) == 100 + 200 + 50


def test_expired_points_are_deleted_and_the_others_stay(path: Path) -> None:
    now = BASE
    store = EmbeddedStore(path, clock=lambda: now)
    for tier in Tier:
        tags = "session_id=s,site=a" if tier is Tier.SESSIONS else "site=a"
        times = (BASE - KEEPING[tier].retention + k * MINUTE for k in range(10))
        lines = [f"jobs,{tags} scraped=1i {time}" for time in times]
        assert store.write(flush(*lines, tier=tier)).accepted == 10
    assert store.expire() == 0
    now += 4 * MINUTE
    assert store.expire() == 4 * len(Tier)
    longest = TimeRange.widened(BASE - 6 * 365 * DAY, BASE, DAY)
    for tier in (Tier.FLEET, Tier.FLEET_1M, Tier.FLEET_1H):
        rows = store.ask("throughput", {"site": ""}, longest, tier=tier, tenant="a").dicts()
        assert sum(row["scraped"] for row in rows) == 6
    store.close()


def test_writing_alone_gets_rid_of_expired_points(path: Path) -> None:
    now = BASE
    store = EmbeddedStore(path, clock=lambda: now)
    old = [f"jobs,site=a scraped=1i {BASE - DAY + k}" for k in range(10)]
    store.write(flush(*old))
    now += KEEPING[Tier.FLEET].retention
    for number in range(200):
        store.write(flush(f"errors,site=a,type=403 count=1i {now}", number=number))
    assert scraped(store) == 0
    assert store.expire() == 0
    store.close()


def test_the_days_of_retention_set_what_is_kept(path: Path) -> None:
    store = EmbeddedStore(path, retention_days=10, clock=lambda: BASE)
    lines = [f"jobs,site=a scraped=1i {BASE - days * DAY}" for days in (9, 11)]
    for tier, kept in ((Tier.FLEET, 1), (Tier.FLEET_1M, 1), (Tier.FLEET_1H, 2), (Tier.SESSIONS, 1)):
        result = store.write(flush(*lines, tier=tier))
        assert (result.accepted, len(result.rejected)) == (kept, 2 - kept)
    store.close()


def test_readers_see_whole_flushes_while_one_writes(store: EmbeddedStore) -> None:
    store.write(flush(f"jobs,site=a scraped=0i {BASE}"))
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(scraped(store))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 31):
        lines = [f"jobs,site=s{k} scraped=1i {BASE + number * SECOND}" for k in range(100)]
        assert store.write(flush(*lines, number=number)).accepted == 100
    done.set()
    for reader in readers:
        reader.join()
    assert seen
    assert all(count % 100 == 0 for count in seen)
    assert scraped(store) == 3000


def test_writers_in_several_threads_lose_nothing(store: EmbeddedStore) -> None:
    def work(collector_no: int) -> None:
        for number in range(10):
            time = BASE + number * SECOND + collector_no
            store.write(flush(*(f"jobs,site=s{k},own{collector_no}=x scraped=1i {time}" for k in range(10))))

    threads = [threading.Thread(target=work, args=(collector_no,)) for collector_no in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scraped(store) == 400


def test_a_full_disk_keeps_the_flush_whole_and_passes_by_itself(path: Path) -> None:
    # A limit on the size of files stands for the disk; it holds for a process, hence one of its own.
    script = f"""
import resource, signal
from pathlib import Path
from tests.embedded.test_store import BASE, EmbeddedStore, flush, scraped
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(path)!r})
store = EmbeddedStore(path)
assert store.write(flush(f"jobs,site=a scraped=1i {{BASE}}")).accepted == 1
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
largest = max(file.stat().st_size for file in path.parent.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, unlimited[1]))
taken, kept = 1, None
for number in range(1, 2000):
    lines = [f"jobs,site=s{{k}}-{{number * k}} scraped=1i {{BASE + number}}" for k in range(500)]
    result = store.write(flush(*lines, number=number))
    kept = result.kept
    if kept:
        break
    taken += 500
assert kept and "cannot be written" in kept, kept
assert result.accepted == 0
assert store.ready() is not None
again = store.write(flush(*lines, number=number))
assert again.kept and again.accepted == 0, again
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
assert scraped(store) == taken, (scraped(store), taken)
assert store.write(flush(*lines, number=number)).accepted == 500
assert store.ready() is None
assert scraped(store) == taken + 500
store.close()
store = EmbeddedStore(path)
assert scraped(store) == taken + 500
print("recovered")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("recovered\n"), done.stderr


def test_a_closed_store_keeps_what_it_is_given_and_says_so(path: Path) -> None:
    store = EmbeddedStore(path)
    store.write(flush(f"jobs,site=a scraped=1i {BASE}"))
    store.close()
    result = store.write(flush(f"jobs,site=a scraped=1i {BASE}", number=2))
    assert result.accepted == 0
    assert result.kept
    assert store.ready()
    with pytest.raises(StoreUnavailable):
        scraped(store)
    with pytest.raises(StoreUnavailable):
        store.expire()


def test_statements_reach_nothing_but_the_file(store: EmbeddedStore, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(duckdb.PermissionException):
        store._db.execute(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')")


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_a_text_for_each_of_its_tiers_that_names_all_its_parameters(question: str) -> None:
    for tier in QUESTIONS[question].tiers:
        sql = question_sql(question, tier)
        for name in ("start", "stop", "every", *(p.name for p in QUESTIONS[question].parameters)):
            assert f"${name}" in sql
