from __future__ import annotations

import pytest
from pytest_httpserver import HTTPServer

from tests.grafana.grafana_api import GrafanaApi


@pytest.fixture
def grafana(httpserver: HTTPServer) -> GrafanaApi:
    """A Grafana of the test's own, as far as the product speaks to it."""
    return GrafanaApi(httpserver)
