"""What becomes of a flush: accepted, rejected for good, or kept to be sent again."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from influx.bootstrap import bootstrap
from influx.store import BYTES_A_REQUEST, LINES_A_REQUEST, InfluxStore
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, Flush, TimeRange, WriteResult
from scrapewatch.problems import ConfigurationError, StoreUnavailable
from scrapewatch.time import HOUR, MINUTE, now_ns, window_start
from tests.influx.conftest import Answering, Reply
from tests.influxd import Influxd

BASE = window_start(now_ns(), HOUR) - HOUR


def line(k: int = 0, value: str = "1i") -> str:
    return f"jobs,site=a scraped={value} {BASE + k}"


def flush(tenant: str, *lines: str, tier: Tier = Tier.FLEET) -> Flush:
    return Flush(0, 1, [Batch(tenant, tier, lines, [1] * len(lines))])


def stored(store: InfluxStore, tenant: str) -> int:
    table = store.ask(
        "throughput", {"site": ""}, TimeRange(BASE, BASE + HOUR, HOUR), tier=Tier.FLEET, tenant=tenant
    )
    return sum(row["scraped"] for row in table.dicts())


def test_a_malformed_line_among_a_thousand_is_rejected_with_its_reason(
    store: InfluxStore, tenant: str
) -> None:
    lines = [line(k) for k in range(1000)]
    lines[617] = "jobs,site=a scraped=one 1"
    result = store.write(flush(tenant, *lines))
    assert (result.accepted, result.kept) == (999, None)
    assert [(rejected.line, rejected.events) for rejected in result.rejected] == [(lines[617], 1)]
    assert "unable to parse" in result.rejected[0].reason
    assert stored(store, tenant) == 999


def test_several_bad_lines_of_both_kinds_are_each_named(store: InfluxStore, tenant: str) -> None:
    store.write(flush(tenant, line(0)))
    lines = [line(k) for k in range(1, 200)]
    lines[3], lines[4], lines[150] = line(3, "1.5"), "no line at all", line(150, '"one"')
    result = store.write(flush(tenant, *lines))
    assert (result.accepted, result.kept) == (196, None)
    assert [rejected.line for rejected in result.rejected] == [lines[3], lines[4], lines[150]]
    assert ["conflict" in rejected.reason for rejected in result.rejected] == [True, False, True]
    assert stored(store, tenant) == 197


def test_lines_that_are_all_older_than_retention_are_rejected_together(
    store: InfluxStore, tenant: str
) -> None:
    lines = [f"jobs,site=a scraped=1i {k}" for k in range(1, 101)]
    result = store.write(flush(tenant, *lines))
    assert (result.accepted, result.kept) == (0, None)
    assert [rejected.line for rejected in result.rejected] == lines
    assert "retention" in result.rejected[0].reason


@pytest.mark.parametrize("silent", ["", "   ", "# scraped=1i", " #"])
def test_a_line_that_influxdb_would_pass_over_in_silence_is_rejected(
    store: InfluxStore, tenant: str, silent: str
) -> None:
    result = store.write(flush(tenant, line(0), silent))
    assert (result.accepted, [rejected.line for rejected in result.rejected]) == (1, [silent])


def test_a_line_that_is_no_text_is_rejected_and_the_rest_is_stored(store: InfluxStore, tenant: str) -> None:
    bad = f"jobs,site=\ud800 scraped=1i {BASE}"
    result = store.write(flush(tenant, line(0), bad, line(1)))
    assert (result.accepted, result.kept) == (2, None)
    assert [rejected.line for rejected in result.rejected] == [bad]
    assert stored(store, tenant) == 2


def test_a_flush_of_more_lines_than_a_request_takes_is_stored_whole(store: InfluxStore, tenant: str) -> None:
    result = store.write(flush(tenant, *(line(k) for k in range(12_345))))
    assert (result.accepted, list(result.rejected), result.kept) == (12_345, [], None)
    assert stored(store, tenant) == 12_345


def test_no_request_is_larger_than_a_store_takes_and_each_line_is_sent_once(answering: Answering) -> None:
    bodies: list[bytes] = []

    def take(path: str, body: bytes) -> Reply:
        bodies.append(body)
        return 204, {}, b""

    few_and_long = [f'jobs,site=a note="{"é" * 40_000}" {BASE + k}' for k in range(31)]
    many = [line(k) for k in range(2 * LINES_A_REQUEST + 1)]
    batches = [Batch("a", Tier.FLEET, few_and_long, [1] * 31), Batch("b", Tier.FLEET, many, [1] * len(many))]
    store = InfluxStore(answering(take), "org", "token")
    assert store.write(Flush(0, 1, batches)) == WriteResult(31 + len(many), [])
    assert max(map(len, bodies)) <= BYTES_A_REQUEST
    sent = [text for body in bodies for text in body.decode().split("\n")]
    assert max(body.count(b"\n") + 1 for body in bodies) <= LINES_A_REQUEST
    assert sorted(sent) == sorted([*few_and_long, *many])
    store.close()


def test_requests_of_a_flush_are_under_way_at_once(answering: Answering) -> None:
    both = threading.Barrier(2, timeout=30)

    def wait_for_another(path: str, body: bytes) -> Reply:
        both.wait()
        return 204, {}, b""

    batches = [Batch("default", tier, [line()], [1]) for tier in (Tier.FLEET, Tier.SESSIONS)]
    store = InfluxStore(answering(wait_for_another), "org", "token", connections=2, read_timeout=60)
    assert store.write(Flush(0, 1, batches)) == WriteResult(2, [])
    store.close()


def test_rejections_come_in_the_order_of_the_lines_whatever_request_was_first(
    store: InfluxStore, tenant: str
) -> None:
    lines = [line(k) for k in range(3 * LINES_A_REQUEST)]
    places = (7, LINES_A_REQUEST, 2 * LINES_A_REQUEST - 1, 3 * LINES_A_REQUEST - 1)
    for k in places:
        lines[k] = f"no line {k}"
    events = [k % 3 for k in range(len(lines))]
    result = store.write(Flush(0, 1, [Batch(tenant, Tier.FLEET, lines, events)]))
    assert (result.accepted, result.kept) == (len(lines) - 4, None)
    assert [(r.line, r.events) for r in result.rejected] == [(lines[k], events[k]) for k in places]


def test_one_refusal_keeps_a_flush_whose_other_requests_were_taken(answering: Answering) -> None:
    refused = threading.Event()

    def refuse_one(path: str, body: bytes) -> Reply:
        if "sessions" in path:
            refused.set()
            return 503, {"Retry-After": "3"}, b""
        refused.wait(30)
        return 204, {}, b""

    batches = [Batch("default", tier, [line()], [1]) for tier in (Tier.FLEET, Tier.SESSIONS)]
    result = InfluxStore(answering(refuse_one), "org", "token").write(Flush(0, 1, batches))
    assert (result.accepted, list(result.rejected), result.retry_after) == (1, [], 3.0)
    assert result.kept is not None


def test_closing_ends_a_write_to_a_server_that_hangs_and_keeps_its_flush() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        url = f"http://127.0.0.1:{stalled.getsockname()[1]}"
        store = InfluxStore(url, "org", "token", connections=1, read_timeout=0.5)
        batches = [Batch(f"tenant-{k}", Tier.FLEET, [line()], [1]) for k in range(100)]
        results: list[WriteResult] = []
        writing = threading.Thread(target=lambda: results.append(store.write(Flush(0, 1, batches))))
        writing.start()
        with stalled.accept()[0]:
            store.close()
            writing.join()
    for result in (*results, store.write(Flush(0, 1, batches)), store.write(Flush(0, 1, batches[:1]))):
        assert (result.accepted, list(result.rejected)) == (0, [])
        assert result.kept is not None
    assert len(results) == 1


def test_a_flush_for_a_bucket_that_is_not_there_is_held_and_says_what_to_do(influxd: Influxd) -> None:
    result = InfluxStore(influxd.url, influxd.org, influxd.token).write(flush("nobody", line()))
    assert (result.accepted, list(result.rejected), result.kept) == (0, [], None)
    (why,) = result.held.values()
    assert "nobody.fleet" in why
    assert "influx bootstrap" in why


def test_a_flush_with_a_wrong_token_is_held_and_the_token_is_not_told(influxd: Influxd) -> None:
    result = InfluxStore(influxd.url, influxd.org, "wrong-and-secret").write(flush("default", line()))
    assert (result.accepted, list(result.rejected), result.kept) == (0, [], None)
    (why,) = result.held.values()
    assert "INFLUX_TOKEN" in why
    assert "wrong-and-secret" not in why


def test_a_flush_with_the_token_of_another_tenant_is_held(influxd: Influxd, tenant: str) -> None:
    tokens = bootstrap(influxd.url, influxd.org, influxd.token, [tenant, f"{tenant}-b"])
    store = InfluxStore(influxd.url, influxd.org, {tenant: tokens[f"{tenant}-b"]})
    result = store.write(flush(tenant, line()))
    assert (result.accepted, list(result.rejected), result.kept) == (0, [], None)
    (why,) = result.held.values()
    assert "does not let the token" in why


def test_a_flush_of_a_tenant_without_a_token_is_held(influxd: Influxd) -> None:
    result = InfluxStore(influxd.url, influxd.org, {"a": influxd.token}).write(flush("b", line()))
    (why,) = result.held.values()
    assert 'no InfluxDB token for tenant "b"' in why


def test_a_flush_is_kept_while_the_server_is_killed_and_taken_once_it_is_back(
    influxd: Influxd, tenant: str
) -> None:
    with Influxd() as server:
        store = InfluxStore(server.url, server.org, bootstrap(server.url, server.org, server.token, [tenant]))
        assert store.write(flush(tenant, line(0))).accepted == 1
        server.kill()
        down = store.write(flush(tenant, line(1)))
        assert (down.accepted, list(down.rejected)) == (0, [])
        assert down.kept is not None
        assert "is it running" in down.kept or "broke off" in down.kept
        assert store.ready() is not None
        with pytest.raises(StoreUnavailable):
            stored(store, tenant)
        server.restart()
        assert store.write(flush(tenant, line(1))).accepted == 1
        assert stored(store, tenant) == 2
        assert store.ready() is None


def test_a_flush_is_kept_by_a_server_that_takes_connections_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        store = InfluxStore(f"http://127.0.0.1:{stalled.getsockname()[1]}", "org", "token", read_timeout=0.2)
        result = store.write(flush("default", line()))
        assert (result.accepted, list(result.rejected)) == (0, [])
        assert result.kept is not None
        assert "hangs" in result.kept
        assert "hangs" in (store.ready() or "")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_or_broken_server_keeps_the_flush_and_its_wish_to_wait_is_passed_on(
    answering: Answering, status: int
) -> None:
    url = answering(lambda path, body: (status, {"Retry-After": "7"}, b'{"message": "cache is full"}'))
    result = InfluxStore(url, "org", "token").write(flush("default", line(0), line(1)))
    assert (result.accepted, list(result.rejected), result.retry_after) == (0, [], 7.0)
    assert result.kept is not None
    assert "cache is full" in result.kept


@pytest.mark.parametrize(
    ("wish", "least", "most"),
    [(timedelta(hours=1), 3000.0, 3600.0), (timedelta(hours=-1), 0.0, 0.0), ("-5", 0.0, 0.0)],
)
def test_a_wish_to_wait_may_be_a_date(
    answering: Answering, wish: timedelta | str, least: float, most: float
) -> None:
    text = wish if isinstance(wish, str) else format_datetime(datetime.now(UTC) + wish, usegmt=True)
    url = answering(lambda path, body: (503, {"Retry-After": text}, b""))
    wait = InfluxStore(url, "org", "token").write(flush("default", line())).retry_after
    assert wait is not None
    assert least <= wait <= most


def test_a_wish_to_wait_that_makes_no_sense_is_none(answering: Answering) -> None:
    url = answering(lambda path, body: (503, {"Retry-After": "soon"}, b""))
    result = InfluxStore(url, "org", "token").write(flush("default", line()))
    assert (result.retry_after, result.kept is not None) == (None, True)


def test_a_request_that_is_too_large_is_split_and_a_line_that_is_too_large_rejected(
    answering: Answering,
) -> None:
    taken: list[str] = []

    def small_only(path: str, body: bytes) -> Reply:
        if len(body) > 200:
            return (
                413,
                {},
                b'{"code": "request too large", "message": "unable to read data: points batch is too large"}',
            )
        taken.extend(body.decode().splitlines())
        return 204, {}, b""

    huge = f'jobs,site=a note="{"x" * 300}" {BASE}'
    lines = [*(line(k) for k in range(50)), huge]
    result = InfluxStore(answering(small_only), "org", "token").write(flush("default", *lines))
    assert (result.accepted, result.kept) == (50, None)
    assert [rejected.line for rejected in result.rejected] == [huge]
    assert sorted(taken) == sorted(lines[:-1])


@pytest.mark.parametrize("status", [400, 422, 302, 404])
def test_a_refusal_that_is_not_influxdbs_own_rejects_no_line(answering: Answering, status: int) -> None:
    url = answering(lambda path, body: (status, {}, b"<html>some proxy on the way</html>"))
    result = InfluxStore(url, "org", "token").write(flush("default", line(0), line(1)))
    assert (result.accepted, list(result.rejected)) == (0, [])
    assert result.kept is not None or result.held


def test_a_line_rejected_before_the_server_failed_is_told_and_the_flush_kept(answering: Answering) -> None:
    def second_bucket_fails(path: str, body: bytes) -> Reply:
        return (503, {}, b"") if "sessions" in path else (204, {}, b"")

    batches = [Batch("default", Tier.FLEET, [line()], [1]), Batch("default", Tier.SESSIONS, [line()], [1])]
    result = InfluxStore(answering(second_bucket_fails), "org", "token").write(Flush(0, 1, batches))
    assert (result.accepted, result.kept is not None) == (1, True)


def test_a_store_that_is_ready_says_none_and_one_that_is_not_says_why(
    influxd: Influxd, store: InfluxStore
) -> None:
    assert store.ready() is None
    assert "INFLUX_TOKEN" in (InfluxStore(influxd.url, influxd.org, "wrong").ready() or "")
    assert "nobody.fleet" in (InfluxStore(influxd.url, influxd.org, {"nobody": influxd.token}).ready() or "")
    assert "organization" in (InfluxStore(influxd.url, "elsewhere", influxd.token).ready() or "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = InfluxStore(f"http://127.0.0.1:{port}", influxd.org, influxd.token)
    assert "is it running" in (away.ready() or "")


def test_a_url_or_token_that_cannot_be_used_is_refused_at_once_and_not_told() -> None:
    for url in ("localhost:8086", "ftp://localhost", "", "http://[", "http://"):
        with pytest.raises(ConfigurationError):
            InfluxStore(url, "org", "token")
    for token in ("", " ", "a\nsecret", "sécret"):
        with pytest.raises(ConfigurationError) as caught:
            InfluxStore("http://localhost", "org", token)
        assert "cret" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        InfluxStore("http://localhost", "org", {"a": ""})


def test_the_password_in_a_url_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    problem = InfluxStore(f"http://me:s3cret@127.0.0.1:{port}", "org", "token").ready()
    assert problem is not None
    assert "s3cret" not in problem


def test_points_a_minute_apart_come_back_from_windows(store: InfluxStore, tenant: str) -> None:
    store.write(flush(tenant, *(line(k * MINUTE) for k in range(3))))
    time_range = TimeRange(BASE, BASE + HOUR, MINUTE)
    points = store.windows("jobs", time_range, tier=Tier.FLEET, tenant=tenant)
    assert [(point.time - BASE, dict(point.fields)) for point in points] == [
        (k * MINUTE, {"scraped": 1}) for k in range(3)
    ]
