"""Proxies: what they carry, how well, which of them are banned, and what a good request costs."""

from __future__ import annotations

from typing import Any

from grafana.build import words
from grafana.build.dashboard import Dashboard
from grafana.build.panels import BARS, FAILURE, NEAR_ONE, SPARSE, STACKED, SUCCESS, Flux, Panel, Row, coloured


def _figure(title: str, description: str, target: Flux, **more: Any) -> Panel:
    return Panel(
        title,
        "stat",
        description,
        (target,),
        **{"empty": "–", "width": 4, "height": 4, "options": {"graphMode": "none"}, **more},
    )


def _of_all(step: str) -> Flux:
    """A figure that follows from the counts of all proxies in the whole range."""
    return Flux("proxies", (), steps=("together", "total", step))


def _by_provider(title: str, description: str, target: Flux, **more: Any) -> Panel:
    return Panel(
        title,
        "timeseries",
        description,
        (target,),
        **{"empty": words.NO_PROXIES, "low": 0, "custom": SPARSE, **more},
    )


DASHBOARD = Dashboard(
    uid="scrapewatch-proxies",
    title="Proxies",
    description="What proxies carry, how well, which are banned, and what a good request costs.",
    variables=("provider",),
    time_from="now-24h",
    sessions_marked=False,
    breakers_marked=False,
    panels=(
        Row("What is happening"),
        _figure(
            "Requests",
            "Requests through proxies in this time.",
            Flux("proxies", ("requests",), steps=("together", "total")),
            decimals=1,
        ),
        _figure(
            "Good requests",
            "Share of requests that did not fail.",
            _of_all("good_share"),
            decimals=1,
            thresholds=SUCCESS,
        ),
        _figure(
            "Bans",
            "Share of requests after which the proxy was banned.",
            _of_all("ban_share"),
            decimals=2,
            thresholds=FAILURE,
        ),
        _figure(
            "Mean latency",
            "Mean time of the requests whose time is known.",
            Flux("proxies", ("latency_sum", "latency_count"), steps=("together", "total", "means")),
        ),
        _figure(
            "Cost",
            "What proxies cost by their own account, in your currency.",
            Flux("proxies", ("cost",), steps=("together", "total")),
            decimals=2,
            link=words.to("scrapewatch-costs", "Cost and ROI"),
        ),
        _figure(
            "Cost of 1,000 good",
            "What 1,000 good requests cost, in your currency.",
            _of_all("cost_of_thousand"),
            decimals=2,
        ),
        Row("Is it normal"),
        _by_provider(
            "Requests a minute",
            "Requests through the proxies of each provider a minute; silence counts as none.",
            Flux(
                "proxies",
                ("requests",),
                steps=("by_provider", "dense", "per_minute"),
                named_by="provider",
                whole_windows=True,
            ),
            custom=STACKED,
        ),
        _by_provider(
            "Good requests by provider",
            "Share of requests that did not fail.",
            Flux("proxies", (), steps=("by_provider", "good_share", "gaps"), named_by="provider"),
            low=None,
            high=1,
            custom={**SPARSE, **NEAR_ONE},
        ),
        _by_provider(
            "Latency by provider",
            "Mean time of the requests whose time is known.",
            Flux(
                "proxies",
                ("latency_sum", "latency_count"),
                steps=("by_provider", "means", "gaps"),
                named_by="provider",
            ),
        ),
        _by_provider(
            "Bytes by provider",
            "Bytes carried a second; silence counts as none.",
            Flux(
                "proxies",
                ("bytes",),
                steps=("by_provider", "dense", "per_second"),
                named_by="provider",
                whole_windows=True,
            ),
            custom=STACKED,
        ),
        Row("Where is it wrong"),
        _by_provider(
            "Bans by provider",
            "Share of requests after which the proxy was banned.",
            Flux("proxies", (), steps=("by_provider", "ban_share", "gaps"), named_by="provider"),
        ),
        _by_provider(
            "Highest latency",
            "The highest latency that was reported of each proxy.",
            Flux("proxies", ("latency_max",), steps=("gaps",), named_by="proxy"),
        ),
        Row("Why"),
        Panel(
            "Each proxy",
            "table",
            "What each proxy carried in the whole time, the busiest first. Cost is by the proxies' own account, in your currency.",
            (Flux("proxies", (), steps=("proxy_table",)),),
            empty=words.NO_PROXIES,
            width=24,
            custom={"minWidth": 80},
            columns=(
                *("provider", "proxy", "requests", "good_share", "ban_share", "latency", "latency_max"),
                *("bytes", "cost", "cost_of_thousand"),
            ),
            names={
                "good_share": "good",
                "ban_share": "banned",
                "latency": "mean latency",
                "latency_max": "highest latency",
                "cost_of_thousand": "cost of 1,000 good",
            },
            overrides=[
                coloured("good_share", SUCCESS, decimals=1),
                coloured("ban_share", FAILURE, decimals=2),
            ],
        ),
        _by_provider(
            "Cost by provider",
            "What the proxies of each provider cost in each window, by their own account, in your currency.",
            Flux("proxies", ("cost",), steps=("by_provider",), named_by="provider"),
            width=24,
            custom=BARS,
        ),
    ),
)
