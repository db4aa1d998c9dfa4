"""Questions as text in Flux: what an analyst pastes elsewhere answers what the product answers."""

from __future__ import annotations

import json
import urllib.request

import pytest

from influx.pasted import flux_of
from influx.store import InfluxStore
from scrapewatch.line_protocol import Point, encode
from scrapewatch.measurements import Tier
from scrapewatch.ports import Batch, Flush, TimeRange
from scrapewatch.questions import QUESTIONS
from scrapewatch.time import DAY, HOUR, now_ns, window_start
from tests.influxd import Influxd

BASE = window_start(now_ns(), DAY) - 2 * DAY
DAY_BY_HOUR = TimeRange(BASE, BASE + DAY, HOUR)
HOSTILE = 'a" or true //${r.site}\\\n\t"é'


def rows_of(influxd: Influxd, flux: str) -> list[dict[str, str]]:
    """What InfluxDB answers to a text, as somebody who pasted it sees it."""
    request = urllib.request.Request(
        f"{influxd.url}/api/v2/query?org={influxd.org}",
        json.dumps({"type": "flux", "query": flux, "dialect": {"annotations": [], "header": True}}).encode(),
        {"Authorization": f"Token {influxd.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    rows = []
    for table in text.strip().split("\r\n\r\n"):
        header, *lines = table.split("\r\n")
        rows += [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines if line]
    return rows


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_can_be_pasted(
    influxd: Influxd, store: InfluxStore, tenant: str, question: str
) -> None:
    known = QUESTIONS[question]
    parameters = {parameter.name: HOSTILE for parameter in known.parameters}
    for tier in known.tiers:
        flux = flux_of(question, parameters, DAY_BY_HOUR, tier=tier, tenant=tenant)
        assert rows_of(influxd, flux) == []


def test_a_pasted_question_answers_the_same_and_takes_every_text_literally(
    influxd: Influxd, store: InfluxStore, tenant: str
) -> None:
    site = HOSTILE.replace("\n", " ").replace("\t", " ").replace("\\", "")
    points = [Point("jobs", {"site": name}, {"scraped": 7}, BASE) for name in (site, "another")]
    lines = [encode(point) for point in points]
    assert store.write(Flush(0, 1, [Batch(tenant, Tier.FLEET, lines, [1, 1])])).accepted == 2
    table = store.ask("throughput", {"site": site}, DAY_BY_HOUR, tier=Tier.FLEET, tenant=tenant)
    flux = flux_of("throughput", {"site": site}, DAY_BY_HOUR, tier=Tier.FLEET, tenant=tenant)
    (row,) = rows_of(influxd, flux)
    assert [row["_value"]] == [str(found["scraped"]) for found in table.dicts()] == ["7"]
