"""What the results mean: the goals met and missed, and the tables of docs/performance.md. ``python -m bench._report`` writes both anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench._results import RESULTS, read, write

PAGE: Final = RESULTS.parents[1] / "docs" / "performance.md"

LONG: Final = 600.0
"""Seconds for which the sustained load must last to count for its goal."""

API_GOAL_MS: Final = 100.0
"""What every kind of request to the API must take less than, at p95."""

Rows = Sequence[Mapping[str, Any]]


def goals(collector: Rows, ack: Rows, sustained: Rows, live: Rows) -> list[dict[str, Any]]:
    """Each goal of the collector with what was measured; ``met`` is None for what was not measured.

    ``measured`` is a ratio or milliseconds, as ``unit`` says, of the worst of the cases that the goal covers; ``cases`` has them all.
    """
    speed = {_case(row): float(row["events_per_s"]) for row in collector}
    cpu = {_case(row): float(row["cpu_us_per_event"]) for row in collector}

    def ratios(
        of: Mapping[tuple[str, int, int], float], other: str, batch: int, sessions: Iterable[int]
    ) -> dict[str, float]:
        return {
            f"{n} sessions": round(of["ours", batch, n] / of[other, batch, n], 3)
            for n in sessions
            if ("ours", batch, n) in of and (other, batch, n) in of
        }

    found = [
        _goal(
            "durable, 100 a request, events/s against raw InfluxDB; 1 and 100 sessions",
            *("≥", 1.6, 2.5, "×"),
            ratios(speed, "raw_influxd", 100, (1, 100)),
        ),
        _goal(
            "the same at 1,000 sessions",
            *("≥", 1.1, None, "×"),
            ratios(speed, "raw_influxd", 100, (1_000,)),
        ),
        _goal(
            "CPU an event against Telegraf, 100 a request",
            *("≤", 0.25, round(1 / 6, 3), "×"),
            ratios(cpu, "telegraf", 100, (1, 100)),
        ),
        _goal(
            "durable, one event a request, 64 connections, events/s against Telegraf (not durable)",
            *("≥", 1.0, None, "×"),
            ratios(speed, "telegraf", 1, (1, 100, 1_000)),
        ),
        _goal(
            "ack p99 at 150 requests/s × 100, durable",
            *("≤", 30.0, 15.0, "ms"),
            {f"{row['seconds']:g} s": float(row["ack_p99_ms"]) for row in ack},
        ),
        _sustained(sustained),
    ]
    for clients, target in ((100, 20.0), (1_000, 40.0)):
        heard = {
            f"{row['events_per_s']:g} Hz": float(row["p99_ms"]) for row in live if row["clients"] == clients
        }
        found.append(
            _goal(f"event → subscriber p99, {clients:,} clients at 10 Hz", "<", target, None, "ms", heard)
        )
    return found


def _case(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return str(row["path"]), int(row["batch"]), int(row["sessions"])


def _goal(
    goal: str, sense: str, target: float, dream: float | None, unit: str, cases: Mapping[str, float]
) -> dict[str, Any]:
    worst = (min if sense == "≥" else max)(cases.values(), default=None)
    met = None if worst is None else worst >= target if sense == "≥" else worst <= target
    return {
        "goal": goal,
        "target": f"{sense} {target:g} {unit}",
        "dream": None if dream is None else f"{sense} {dream:g} {unit}",
        "measured": worst,
        "unit": unit,
        "cases": dict(cases),
        "met": met,
    }


def _sustained(rows: Rows) -> dict[str, Any]:
    goal = _goal(
        "1,000 sessions, 20,000 events/s, 10 minutes: 0 errors, flat memory, ack p99",
        *("<", 50.0, None, "ms"),
        {f"{row['seconds'] / 60:g} min": float(row["ack_p99_ms"]) for row in rows},
    )
    if rows:
        row = rows[0]
        # Flat: what it needs in the second half it needed in the first.
        growth = float(row["rss_end_mb"]) / float(row["rss_middle_mb"])
        errors = sum(row["failures"].values()) + row["undelivered"]
        goal["cases"] |= {"errors": errors, "memory at the end against the middle": round(growth, 3)}
        whole = row["seconds"] >= LONG and row["sessions"] == 1_000 and row["events_per_s"] == 20_000
        goal["met"] = (goal["met"] and errors == 0 and growth <= 1.1) if whole else None
    return goal


def update() -> None:
    """Write the goals into ``results/collector.json``, and the tables of docs/performance.md."""
    results = {name: read(name) or {"rows": []} for name in ("collector", "ack", "sustained", "live")}
    collector = results["collector"]
    if collector["rows"]:
        collector["goals"] = goals(*(result["rows"] for result in results.values()))
        write("collector", collector)
    if PAGE.is_file():
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str) -> str:
    """``page`` with the tables of the results between its markers ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    for name, text in _parts().items():
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda found, text=text: f"{found[1]}{text}\n{found[2]}",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page


def _parts() -> dict[str, str]:
    collector, ack, sustained, live, api = (
        read(name) for name in ("collector", "ack", "sustained", "live", "api")
    )
    return {
        "goals": _goals_table(collector["goals"]) if collector and "goals" in collector else _UNMEASURED,
        "collector": _made(collector, _collector_table),
        "ack": _made(ack, _steady_table),
        "sustained": _made(sustained, _steady_table),
        "live": _made(live, _live_table),
        "api": _made(api, _api_table),
    }


_UNMEASURED: Final = "Not measured yet."


def _made(result: dict[str, Any] | None, table: Any) -> str:
    if not result:
        return _UNMEASURED
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{table(result['rows'])}\n\n"
        f"`{result['command']}` at {result['revision']}, {result['date']}; {result['machine']}; load average of the machine at the end "
        f"{result['load_average'][0]}; {versions}."
    )


def _goals_table(found: Rows) -> str:
    rows = []
    for goal in found:
        worst = "–" if goal["measured"] is None else f"{goal['measured']:g} {goal['unit']}"
        cases = "; ".join(f"{name}: {value:g}" for name, value in goal["cases"].items())
        rows.append(
            (
                goal["goal"],
                f"{goal['target']}" + (f" ({goal['dream']})" if goal["dream"] else ""),
                f"{worst} ({cases})" if len(goal["cases"]) > 1 else worst,
                {True: "yes", False: "**no**", None: "not measured"}[goal["met"]],
            )
        )
    return _markdown(("goal", "target (dream)", "measured", "met"), rows)


def _collector_table(rows: Rows) -> str:
    raw = {
        (row["batch"], row["sessions"]): row["events_per_s"] for row in rows if row["path"] == "raw_influxd"
    }

    def with_ratios(row: Mapping[str, Any]) -> dict[str, Any]:
        beside = raw.get((row["batch"], row["sessions"]))
        return {
            **row,
            "of_raw": "" if beside is None else f"{row['events_per_s'] / beside:.2f} ×",
            "influxd": "" if row["path"] == "raw_influxd" else f"{row['influxd_cpu_us_per_event']:.2f}",
        }

    return _table(
        map(with_ratios, rows),
        {
            "a request": "{batch:,}",
            "sessions": "{sessions:,}",
            "path": "{path}",
            "events/s": "{events_per_s:,}",
            "of raw": "{of_raw}",
            "CPU µs/event": "{cpu_us_per_event:.2f}",
            "InfluxDB's beside": "{influxd}",
            "ack p50 / p99 ms": "{ack_p50_ms:.1f} / {ack_p99_ms:.1f}",
            "RSS MiB": "{rss_mb:.0f}",
        },
    )


def _steady_table(rows: Rows) -> str:
    return _table(
        ({**row, "errors": sum(row["failures"].values()) + row["undelivered"]} for row in rows),
        {
            "events/s": "{events_per_s:,.0f}",
            "a request": "{batch:,}",
            "sessions": "{sessions:,}",
            "for": "{seconds:g} s",
            "errors": "{errors}",
            "ack p50 / p99 / max ms": "{ack_p50_ms:.1f} / {ack_p99_ms:.1f} / {ack_max_ms:.0f}",
            "CPU µs/event": "{cpu_us_per_event:.2f}",
            "RSS MiB start / middle / end": "{rss_start_mb:.0f} / {rss_middle_mb:.0f} / {rss_end_mb:.0f}",
            "most that waited": "{backlog_most:,.0f} events",
        },
    )


def _live_table(rows: Rows) -> str:
    return _table(
        rows,
        {
            "clients": "{clients:,}",
            "events/s to each": "{events_per_s:g}",
            "p50 / p99 / max ms": "{p50_ms:.1f} / {p99_ms:.1f} / {max_ms:.0f}",
            "at the socket p50 / p99 ms": "{socket_p50_ms:.1f} / {socket_p99_ms:.1f}",
            "missed": "{missed:,}",
            "connections lost": "{lost_connections}",
            "cores": "{cores:.2f}",
            "RSS MiB": "{rss_mb:.0f}",
        },
    )


def _api_table(rows: Rows) -> str:
    """A row a route or question, with the request of each kind of run that is slowest at p95; those without a goal last."""
    runs = list(dict.fromkeys((row["store"], row["reporting_sessions"]) for row in rows))
    worst: dict[tuple[bool, str], dict[tuple[str, int], Mapping[str, Any]]] = {}
    for row in rows:
        path = row["route"].replace("{question}", row["question"] or "{question}")
        of_route = worst.setdefault((row["excepted"], path), {})
        run = row["store"], row["reporting_sessions"]
        if run not in of_route or row["p95_ms"] > of_route[run]["p95_ms"]:
            of_route[run] = row

    def cell(row: Mapping[str, Any] | None) -> str:
        if row is None:
            return ""
        text = f"{row['p50_ms']:.1f} / {row['p95_ms']:.1f}"
        missed = not row["excepted"] and row["p95_ms"] >= API_GOAL_MS
        query = f"<br>`{row['query']}`" if row["query"] else ""
        return (f"**{text}**" if missed else text) + query

    head = ["GET", *(f"{store}, {f'{n} report' if n else 'idle'}" for store, n in runs)]
    echoes = {
        (row["store"], row["reporting_sessions"]): f"{row['echo_p50_ms']:.1f} / {row['echo_p95_ms']:.1f}"
        for row in rows
    }
    lines = [["a bare FastAPI echo", *(echoes[run] for run in runs)]]
    for (excepted, path), of_route in sorted(worst.items()):
        name = path.removeprefix("/api/v1").replace("/monitoring/questions/", "question ")
        lines.append(
            [f"{name}{' (no goal)' if excepted else ''}", *(cell(of_route.get(run)) for run in runs)]
        )
    met = {
        run: [
            row["p95_ms"] < API_GOAL_MS
            for row in rows
            if (row["store"], row["reporting_sessions"]) == run and not row["excepted"]
        ]
        for run in runs
    }
    loads = {(row["store"], row["reporting_sessions"]): row["load_average"] for row in rows}
    lines.insert(0, ["load average of the machine", *(f"{loads[run]:.1f}" for run in runs)])
    said = "; ".join(
        f"{store}, {f'{n} sessions report' if n else 'idle'}: {sum(met[store, n])} of {len(met[store, n])}"
        for store, n in runs
    )
    return f"Kinds of requests with p95 < {API_GOAL_MS:g} ms: {said}.\n\n{_markdown(head, lines)}"


def _table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A column each, with how a row is written in it."""
    return _markdown(
        tuple(columns), ([written.format_map(row) for written in columns.values()] for row in rows)
    )


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    update()
