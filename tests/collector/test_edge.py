"""The collector's edge: types and encodings of bodies, and how much of it one tenant may have."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import re
import sys
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import fairness
from collector.body import MOST_FRAMES, BodyTooLarge, has_lines, most_unpacked, unpack
from collector.fairness import BURST_SECONDS, Admission, Rates
from collector.ingest import MalformedBody
from scrapewatch.problems import Busy, ConfigurationError, TooMuch
from scrapewatch.settings import Settings
from tests.collector.conftest import PATH, Running
from tests.stack.running import Up

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Start = Callable[..., AbstractContextManager[Running]]


def job(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"session_id": "s1", "metric": "job_scraped", "value": {"site": "indeed", "count": count}, **more}


def deflate_bare(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-zlib.MAX_WBITS)


PACKS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", deflate_bare),
    "zstd": ("zstd", zstd.compress),
}

# --- types


@pytest.mark.parametrize(
    "kind", ["application/x-ndjson", "application/ndjson; charset=utf-8", "application/jsonl"]
)
def test_a_body_may_have_an_event_a_line(running: Running, kind: str) -> None:
    body = f"{json.dumps(job(2))}\n\r\n\n{json.dumps(job(3))}\r\n{json.dumps(job(4))}"
    answer = running.http.post(PATH, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 3
    assert running.counts("total_jobs_found") == 9


def test_a_line_that_is_no_event_is_rejected_alone(shared: Running) -> None:
    body = "\n".join(json.dumps(item) for item in (job(2), {"bad": 1}, job(3)))
    answer = shared.http.post(PATH, content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["accepted"] == 2
    assert [item["index"] for item in answer.json()["rejected"]] == [1]


def test_a_line_that_is_no_json_is_a_400_that_names_it(shared: Running) -> None:
    before = shared.collector.spool.status().accepted
    body = f'{json.dumps(job(2))}\n{{"session_id": '
    answer = shared.http.post(PATH, content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 400
    assert "line 2" in answer.json()["detail"]
    assert shared.collector.spool.status().accepted == before


def test_a_type_that_is_not_taken_is_named_beside_those_that_are(shared: Running) -> None:
    answer = shared.http.post(
        PATH, content=b"<a/>", headers={"Content-Type": "Application/XML; charset=utf-8"}
    )
    assert answer.status_code == 415
    assert "application/xml" in answer.json()["detail"]
    assert "application/x-ndjson" in answer.json()["detail"]


def test_a_hostile_type_is_neither_repeated_whole_nor_as_it_is(shared: Running) -> None:
    hostile = b"text/<script>alert('x')</script>\xff\x80" + b"a" * 10_000
    answer = shared.http.post(PATH, content=b"{}", headers={b"Content-Type": hostile})
    assert answer.status_code == 415
    assert "<" not in answer.text
    assert len(answer.text) < 500


def test_an_encoding_that_is_not_taken_is_named_beside_those_that_are(shared: Running) -> None:
    for encoding in ("br", "gzip, zstd"):
        answer = shared.http.post(PATH, content=b"x", headers={"Content-Encoding": encoding})
        assert answer.status_code == 415
        assert encoding in answer.json()["detail"]
        assert "zstd" in answer.json()["detail"]


# --- encodings


@pytest.mark.parametrize("name", PACKS)
def test_a_packed_body_counts_as_it_would_plain(running: Running, name: str) -> None:
    encoding, pack = PACKS[name]
    body = pack(json.dumps([job(2), job(3)]).encode())
    answer = running.http.post(PATH, content=body, headers={"Content-Encoding": encoding})
    assert answer.json() == {"accepted": 2, "duplicates": 0, "rejected": []}
    assert running.counts("total_jobs_found") == 5


def test_packed_lines_are_lines(shared: Running) -> None:
    body = zstd.compress(b"\n".join(json.dumps(job(k)).encode() for k in range(300)))
    headers = {"Content-Encoding": "zstd", "Content-Type": "application/x-ndjson"}
    assert shared.http.post(PATH, content=body, headers=headers).json()["accepted"] == 300


@given(
    plain=st.binary(max_size=200_000)
    | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(0, 50_000)),
    name=st.sampled_from(sorted(PACKS)),
    cuts=st.lists(st.integers(0, 200_000), max_size=5),
)
@settings(deadline=None)
def test_what_is_unpacked_is_what_was_packed(plain: bytes, name: str, cuts: Sequence[int]) -> None:
    encoding, pack = PACKS[name]
    encoding = encoding.removeprefix("x-")
    if encoding == "deflate":
        cuts = ()
    places = [0, *sorted(min(cut, len(plain)) for cut in cuts), len(plain)]
    packed = b"".join(pack(plain[a:b]) for a, b in pairwise(places))
    assert unpack(packed, encoding, len(plain)) == plain
    assert len(plain) <= most_unpacked(len(packed), encoding, len(plain))
    if plain:
        with pytest.raises(BodyTooLarge):
            unpack(packed, encoding, len(plain) - 1)


@pytest.mark.parametrize("name", PACKS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_packed_body_that_is_cut_off_is_a_400(shared: Running, name: str, kept: float) -> None:
    before = shared.collector.spool.status().accepted
    encoding, pack = PACKS[name]
    body = pack(json.dumps([job(k) for k in range(200)]).encode())
    answer = shared.http.post(
        PATH, content=body[: int(len(body) * kept)], headers={"Content-Encoding": encoding}
    )
    assert answer.status_code == 400
    assert shared.collector.spool.status().accepted == before


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("body", [b"", b"{}", b"\x00" * 100, json.dumps(job()).encode()])
def test_a_body_that_is_not_packed_as_it_says_is_a_400(shared: Running, encoding: str, body: bytes) -> None:
    answer = shared.http.post(PATH, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 400


def test_what_follows_a_packed_body_is_a_400() -> None:
    for name, (encoding, pack) in PACKS.items():
        with pytest.raises(MalformedBody):
            unpack(pack(b"[]") + b"more", encoding.removeprefix("x-"), 1_000)
            raise AssertionError(name)


@pytest.mark.parametrize("name", PACKS)
def test_a_bomb_is_a_413_and_takes_no_more_memory_than_a_body_may(shared: Running, name: str) -> None:
    encoding, pack = PACKS[name]
    bomb = pack(b" " * 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            unpack(bomb, encoding.removeprefix("x-"), 10_000_000)
        assert tracemalloc.get_traced_memory()[1] < 15_000_000
    finally:
        tracemalloc.stop()
    answer = shared.http.post(PATH, content=bomb, headers={"Content-Encoding": encoding})
    assert answer.status_code == 413


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_body_of_endless_frames_is_refused(name: str) -> None:
    encoding, pack = PACKS[name]
    assert unpack(pack(b" ") * MOST_FRAMES, encoding, 10_000) == b" " * MOST_FRAMES
    with pytest.raises(MalformedBody, match="frames"):
        unpack(pack(b"") * 100_000, encoding, 10_000)


def test_a_frame_that_wants_a_window_larger_than_any_body_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): 27})
    with pytest.raises(MalformedBody):
        unpack(packer.compress(b"[]") + packer.flush(), "zstd", 10_000_000)


def test_the_best_that_a_packer_can_do_is_taken() -> None:
    plain = json.dumps([job(k) for k in range(3_000)]).encode()
    assert unpack(zstd.compress(plain, level=22), "zstd", 10_000_000) == plain


# --- sizes


def test_ten_megabytes_and_ten_thousand_events_are_taken(running: Running) -> None:
    event = {
        "session_id": "s1",
        "metric": "error_occurred",
        "value": {"site": "a", "type": "x", "message": "m" * 880},
    }
    body = json.dumps([event] * 10_000).encode()
    body += b" " * (10_000_000 - len(body))
    assert len(body) == 10_000_000
    assert running.http.post(PATH, content=body).json()["accepted"] == 10_000
    packed = zstd.compress(body)
    assert (
        running.http.post(PATH, content=packed, headers={"Content-Encoding": "zstd"}).json()["accepted"]
        == 10_000
    )
    assert running.http.post(PATH, content=body + b" ").status_code == 413
    assert running.post([job()] * 10_001).status_code == 413


# --- the route


@pytest.mark.parametrize("path", [PATH, "/monitoring/metrics"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT", "DELETE"])
def test_another_method_is_a_405_that_names_the_right_one(shared: Running, path: str, method: str) -> None:
    answer = shared.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("backfill=perhaps", {}, "query.backfill"),
        ("backfill=", {}, "query.backfill"),
        ("", {"Idempotency-Key": ""}, "header.idempotency-key"),
        ("", {"Idempotency-Key": "k" * 201}, "header.idempotency-key"),
    ],
)
def test_a_parameter_that_is_wrong_is_a_422_that_names_it(
    shared: Running, query: str, headers: Mapping[str, str], field: str
) -> None:
    before = shared.collector.spool.status().accepted
    answer = shared.http.post(f"{PATH}?{query}", json=job(), headers=headers)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert shared.collector.spool.status().accepted == before


def test_the_guard_stands_in_front_of_events_too(shared: Running) -> None:
    assert shared.http.post(PATH, json=job(), headers={"Host": "evil.example"}).status_code == 421
    assert shared.http.post(PATH, json=job(), headers={"Origin": "https://evil.example"}).status_code == 403
    answer = shared.http.post(PATH, json=job(), headers={"X-Request-ID": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    ids = {shared.http.post(PATH, json=job()).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_the_openapi_document_tells_of_events(shared: Running) -> None:
    route = shared.http.get("/openapi.json").json()["paths"][PATH]["post"]
    assert route["operationId"] == "ingest_api_v1_monitoring_metrics_post"
    assert {(shown["in"], shown["name"]) for shown in route["parameters"]} == {
        ("query", "backfill"),
        ("header", "idempotency-key"),
    }
    content = route["requestBody"]["content"]
    assert all(has_lines(kind.encode()) == (kind == "application/x-ndjson") for kind in content)
    assert set(content["application/json"]["examples"]) == {"one", "list"}
    assert {"202", "400", "408", "409", "413", "415", "422", "429", "503"} <= set(route["responses"])


def test_a_body_without_a_length_is_taken_where_the_limit_is_small(start: Start) -> None:
    with start(max_body_bytes=1_000) as running:
        body = json.dumps(job()).encode()
        assert running.http.post(PATH, content=(part for part in (body[:50], body[50:]))).status_code == 202


def test_requests_that_are_turned_away_are_counted_by_reason(running: Running) -> None:
    running.http.post(PATH, content=b"{")
    running.http.post(PATH, content=b"{}", headers={"Content-Type": "image/png"})
    running.http.post(PATH, content=b"[]")
    running.post([job()])
    running.post([job()], headers={"Idempotency-Key": "k"})
    running.post([job(2)], headers={"Idempotency-Key": "k"})
    observed = running.collector.observed
    assert observed.refused == {"not-json": 1, "unsupported-body": 1, "no-event": 1, "conflict": 1}
    assert observed.requests == 6


# --- row 19


def tenant_in_header(scope: Mapping[str, Any]) -> str:
    tenant: bytes = dict(scope["headers"])[b"x-tenant"]
    return tenant.decode()


def test_ten_times_the_rate_is_a_429_and_other_tenants_are_not_affected(start: Start) -> None:
    with start(tenant_of=tenant_in_header, tenant_events_per_second=100) as running:
        burst = int(100 * BURST_SECONDS)
        statuses = []
        for _ in range(10):
            answer = running.post([job()] * burst, headers={"X-Tenant": "loud"})
            statuses.append(answer.status_code)
            assert running.post([job()], headers={"X-Tenant": "quiet"}).status_code == 202
        assert statuses[0] == 202
        assert set(statuses[2:]) == {429}
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["type"] == "urn:scrapewatch:problem:too-much"
        assert "Retry-After" in answer.json()["detail"]
        assert running.collector.observed.refused == {"tenant-rate": statuses.count(429)}
        # What was refused was not read: it is no event, and comes again.
        assert running.collector.spool.status().accepted == 10 + burst * statuses.count(202)


def test_a_tenant_may_send_again_once_its_debt_is_paid() -> None:
    now = 1_000.0
    rates = Rates(100, clock=lambda: now)
    assert rates.over("a") == 0
    rates.charge("a", 10_000)
    wait = rates.over("a")
    assert wait == pytest.approx(100 - BURST_SECONDS)
    now += wait / 2
    assert rates.over("a") == pytest.approx(wait / 2)
    now += wait / 2
    assert rates.over("a") == pytest.approx(0)
    now += 1_000
    rates.charge("a", int(100 * BURST_SECONDS))
    assert rates.over("a") == 0, "a tenant that was quiet may burst"


def test_rubbish_counts_against_the_rate_too(start: Start) -> None:
    with start(tenant_events_per_second=1) as running:
        statuses = Counter(running.http.post(PATH, content=b"{").status_code for _ in range(30))
        assert statuses[429] > 0


# --- bodies under way


def limits(most: int = 4_000_000, share: float = 0.5) -> Settings:
    return Settings(max_body_bytes=1_000_000, bodies_max_bytes=most, tenant_bodies_share=share)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "WAIT_SECONDS", 0.05)


def test_limits_that_hold_not_one_body_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="SCRAPEWATCH_BODIES_MAX_BYTES"):
        Admission(limits(most=1_500_000), Counter())


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 1_000_000), st.integers(0, 3), st.booleans()),
        max_size=60,
    )
)
@settings(deadline=None)
def test_bodies_under_way_never_hold_more_than_the_limit_and_all_comes_back(
    requests: Sequence[tuple[str, int, int, bool]],
) -> None:
    async def run() -> None:
        admission = Admission(limits(), Counter())
        held: Counter[str] = Counter()

        async def request(tenant: str, size: int, pauses: int) -> None:
            if not admission.take(tenant, size):
                await admission.wait(tenant, size)
            held[tenant] += size
            assert admission.under_way <= 4_000_000
            assert held[tenant] <= 2_000_000
            try:
                for _ in range(pauses):
                    await asyncio.sleep(0)
            finally:
                held[tenant] -= size
                admission.leave(tenant, size)

        tasks = []
        for tenant, size, pauses, cancelled in requests:
            task = asyncio.create_task(request(tenant, size, pauses))
            tasks.append(task)
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [error for error in done if isinstance(error, Exception)]
        assert admission.under_way == 0
        assert admission.take("a", 2_000_000)

    asyncio.run(run())


def test_of_those_that_wait_the_tenant_that_holds_least_comes_first() -> None:
    async def run() -> list[str]:
        admission = Admission(limits(most=3_000_000, share=1.0), Counter())
        order: list[str] = []
        assert all(admission.take("loud", 1_000_000) for _ in range(3))

        async def wait(tenant: str) -> None:
            await admission.wait(tenant, 1_000_000)
            order.append(tenant)

        waiting = [asyncio.create_task(wait(tenant)) for tenant in ("loud", "loud", "quiet")]
        await asyncio.sleep(0)
        for _ in range(3):
            admission.leave("loud", 1_000_000)
            await asyncio.sleep(0.001)
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(run())[0] == "quiet"


@pytest.mark.usefixtures("hasty")
def test_a_tenant_that_holds_its_share_is_told_so_and_others_find_room_at_once() -> None:
    async def run() -> None:
        refused: Counter[str] = Counter()
        admission = Admission(limits(), refused)
        assert admission.take("loud", 1_000_000)
        assert admission.take("loud", 1_000_000)
        assert not admission.take("loud", 1_000_000)
        assert admission.take("quiet", 1_000_000)
        with pytest.raises(TooMuch):
            await admission.wait("loud", 1_000_000)
        assert refused == {"tenant-share": 1}

    asyncio.run(run())


@pytest.mark.usefixtures("hasty")
def test_who_waits_in_vain_is_told_to_come_back_and_small_bodies_pass() -> None:
    async def run() -> None:
        refused: Counter[str] = Counter()
        admission = Admission(limits(share=1.0), refused)
        assert admission.take("a", 3_900_000)
        waiting = asyncio.create_task(admission.wait("a", 1_000_000))
        await asyncio.sleep(0)
        assert admission.take("a", 1_000), "small ones need not wait behind large ones"
        with pytest.raises(Busy):
            await waiting
        assert refused == {"busy": 1}
        admission.leave("a", 3_900_000)
        assert admission.take("a", 3_900_000)

    asyncio.run(run())


def test_a_body_without_a_length_counts_as_it_grows_and_leaves_nothing_behind(start: Start) -> None:
    body = json.dumps([job(1)] * 5_000).encode()
    assert len(body) > 400_000
    with start(max_body_bytes=500_000, bodies_max_bytes=1_000_000, tenant_bodies_share=0.5) as running:
        for _ in range(5):
            parts = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
            for content in ((part for part in parts), iter(parts)):  # in parts, and as one
                assert running.http.post(PATH, content=content).json()["accepted"] == 5_000
            too_much = [b" " * 100_000] * 6
            for content in ((part for part in too_much), iter(too_much)):
                assert running.http.post(PATH, content=content).status_code == 413
        assert running.counts("total_jobs_found") == 50_000


def test_many_large_bodies_at_once_are_taken_or_told_to_come_back_and_never_fill_memory(
    tmp_path: Path,
) -> None:
    message = "m" * 780
    events = [
        {
            "session_id": "s1",
            "metric": "error_occurred",
            "value": {"site": "a", "type": "x", "message": message},
        }
    ] * 10_000
    body = json.dumps(events).encode()
    assert len(body) > 8_500_000
    with Up(tmp_path, {"SCRAPEWATCH_BODIES_MAX_BYTES": "20000000"}) as up:
        process = up._process
        assert process is not None
        status = Path(f"/proc/{process.pid}/status")

        def peak() -> int:
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
            return int(found[1]) * 1024 if found else 0

        def post(_: int) -> int:
            with closing(http.client.HTTPConnection("127.0.0.1", up.port, timeout=120)) as line:
                line.request("POST", PATH, body, {"Content-Type": "application/json"})
                answer = line.getresponse()
                answer.read()
                if answer.status == 503:
                    assert int(answer.headers["Retry-After"]) in range(1, 6)
                return answer.status

        before = peak()
        with ThreadPoolExecutor(32) as pool:
            statuses = Counter(pool.map(post, range(32)))
        assert set(statuses) <= {202, 503}
        assert statuses[202] > 0
        if refused := statuses[503]:
            assert up.metric('scrapewatch_requests_refused_total{reason="busy"}') == refused
        assert peak() - before < 32 * len(body), "less than the bodies alone would fill"
        assert post(0) == 202
        up.drain()
        assert [session["errors_count"] for session in up.sessions()] == [(statuses[202] + 1) * 10_000]
