"""What the dashboard Cost and ROI works out in Flux is what the API answers of the same points."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from api.analytics.asking import Span
from api.analytics.roi import Roi
from influx.store import InfluxStore
from scrapewatch.answers import ask
from scrapewatch.ports import DEFAULT_TENANT
from scrapewatch.time import DAY, HOUR
from tests.grafana.asking import Asker, panels_of, queries_of_panel
from tests.grafana.conftest import Stores
from tests.grafana.expansion import Variable
from tests.grafana.flux_source import FluxSource

DASHBOARD: Final = json.loads(
    (Path(__file__).parents[2] / "grafana" / "dashboards" / "scrapewatch-costs.json").read_text("utf-8")
)
PRICE: Final = 4.5


@pytest.fixture(scope="module")
def asker(stores: Stores) -> Iterator[Asker]:
    flux = FluxSource(stores.influx_url, stores.org, stores.token)
    with psycopg.connect(stores.reader_url, autocommit=True) as records:
        yield Asker(flux, records)
    flux.close()


def shown(
    asker: Asker, stores: Stores, title: str, currency: str, length: int, price: str = str(PRICE)
) -> dict[str, list[Any]]:
    """The values of a panel by the names of its fields."""
    (panel,) = [panel for panel in panels_of(DASHBOARD) if panel["title"] == title]
    (query,) = queries_of_panel(DASHBOARD, panel)
    variables = {
        "site": Variable(everything=True, all_value="''", multi=True, include_all=True),
        "currency": Variable(currency),
        "competitor_price": Variable(price),
    }
    frames = asker.ask(query, variables, stores.now - length, stores.now)
    return {field.name: list(field.values) for frame in frames for field in frame.fields}


@pytest.mark.parametrize("days", [1, 7, 30])
@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_costs_are_those_of_the_api(asker: Asker, stores: Stores, currency: str, days: int) -> None:
    span = Span.of(days * DAY, stores.now, HOUR)
    series = InfluxStore(stores.influx_url, stores.org, stores.token)
    tables = {
        name: ask(series, name, {}, span.this, tenant=DEFAULT_TENANT) for name in ("site_totals", "costs")
    }
    series.close()
    roi = Roi.of(days, span, tables, currency=currency, prices={"someone": PRICE}, own_figures=None)
    items = {item.site: item for item in roi.items if item.currency == currency}
    (saving,) = roi.savings

    rows = shown(asker, stores, "Cost by site", currency, span.now - span.start)
    found = dict(
        zip(
            rows["site"],
            zip(rows["cost"], rows["own"], rows["shared"], rows["cost_per_1000"], strict=True),
            strict=True,
        )
    )
    for site, item in items.items():
        assert found[site] == pytest.approx((item.cost, item.own_cost, item.shared_cost, item.cost_per_1000))
    assert all(cost == 0 for site, (cost, *_) in found.items() if site not in items)

    totals = {
        **shown(asker, stores, "Spent in this time", currency, span.now - span.start),
        **shown(asker, stores, "Against a competitor", currency, span.now - span.start),
    }
    assert totals["results"] == [roi.valid_results]
    assert totals["saved"] == [pytest.approx(saving.saved)]
    assert totals["competitor"] == [pytest.approx(saving.price)]
    mine = [total for total in roi.totals if total.currency == currency]
    assert totals["spent"] == [pytest.approx(sum(total.cost for total in mine))]
    if mine:
        assert totals["cost_per_1000"] == [pytest.approx(mine[0].cost_per_1000)]
        assert totals["saved_share"] == [pytest.approx(saving.saved_share)]


@pytest.mark.parametrize("price", ["", "much", "4,50", '" + "', "1 // "])
def test_without_a_price_nothing_is_said_of_a_competitor(asker: Asker, stores: Stores, price: str) -> None:
    assert shown(asker, stores, "Spent in this time", "USD", DAY, price)["spent"][0] > 0
    assert shown(asker, stores, "Against a competitor", "USD", DAY, price).get("saved", []) == []
