"""Turns a run of Scrapy into scrapewatch events whose counts equal what its stats dump says.

Where each count comes from, exactly:

- jobs saved: `item_scraped_count`; jobs dropped: `item_dropped_count`. A dropped item was found too, so jobs found are both.
- pages: `response_received_count`, or `downloader/response_count` where a dump lacks it.
- statuses: `downloader/response_status_count/N`. Scrapy counts there what the network answered, also redirects that it followed
  and answers that it asked for again, which never became pages. Those are events of their own, `custom` with the name
  `responses_without_page`, so that both counts stay exact: pages of a status and these add up to the dump's count.
- errors: HTTP statuses from 400 on, under their number, but for a robots.txt that is not there;
  `downloader/exception_type_count/*` as timeout, proxy, network or other; `spider_exceptions/*` as parsing
  (`spider_exceptions/count` of newer versions is their sum). `IgnoreRequest` is a request that was not made, such as one that
  robots.txt forbids, and no error. `retry/*`, `httperror/*` and `robotstxt/*` tell of the same failures again and are not added.

When: LogStats lines say how many pages and items there were by then, so what was gained since the line before is put at the line's
time, and the rest at the finish; lines that say more than the dump are cut to it. Statuses are known in total only: each step
takes its share of what is left by largest remainder, which keeps every sum exact. Nothing says when an error happened, so errors
are put at the finish rather than at invented times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from stack.scrapy_log.literals import Plain
from stack.scrapy_log.parse import Run

RESPONSES_WITHOUT_PAGE = "responses_without_page"
"""Name of the custom figure that counts redirects followed and answers asked for again."""

_STATUS = "downloader/response_status_count/"
_ROBOTS_STATUS = "robotstxt/response_status_count/"
_EXCEPTION = "downloader/exception_type_count/"
_SPIDER_EXCEPTION = "spider_exceptions/"
_RETRIED = "retry/reason_count/"
_NOT_SENT = frozenset({"scrapy.exceptions.IgnoreRequest"})
_NOT_THERE = ("404", "410")
# What Scrapy's RedirectMiddleware follows.
_REDIRECTS = ("301", "302", "303", "307", "308")
# More than the registry takes as one count is no count.
_MOST = 10**9
_MEBIBYTE = 2**20
_LONGEST = 500


def run_events(
    run: Run, *, site: str, session_id: str, shift: timedelta = timedelta(0)
) -> list[dict[str, object]]:
    """The run as events `{"session_id", "metric", "value", "timestamp"}` in the order of their times; the same run gives the same list.

    A run whose log breaks off gives what is known: no totals, and an end only where the log tells how it ended. A run of which not
    even a time is known gives no events.

    Args:
        run: one run of a log.
        site: name of the site.
        session_id: name of the session; made from `run.fingerprint`, importing twice makes no second session.
        shift: added to every time.

    """
    times = [
        t for t in (run.started_at, *(s.time for s in run.log_stats[:1]), run.finished_at) if t is not None
    ]
    if not times:
        return []
    start = times[0]
    known = [t for t in (*(s.time for s in run.log_stats[-1:]), run.finished_at) if t is not None]
    end = max(start, run.finished_at or known[-1]) if known else start
    ended = run.complete or run.finish_reason is not None

    events: list[tuple[datetime, str, dict[str, Any]]] = [
        (start, "session_started", {"source": "scrapy", "sites": [site]}),
        (start, "site_started", {"site": site, "attempt": 1}),
    ]
    jobs, pages = _totals(run)
    steps = _steps(run, jobs, pages, start, end)
    statuses, without_page = _page_statuses(run.stats, pages)
    for time, items, received in steps:
        if items:
            events.append((time, "job_scraped", {"site": site, "count": items, "saved": items}))
        for status, n in _share(statuses, received):
            page: dict[str, Any] = {"site": site, "attempt": 1, "count": n}
            events.append((time, "page_processed", page | ({"status": int(status)} if status else {})))
    dropped = count(run.stats, "item_dropped_count")
    if dropped:
        events.append((end, "job_scraped", {"site": site, "count": dropped, "dropped": dropped}))
    for status, n in without_page:
        labels = {"site": site, "status": status}
        custom = {"name": RESPONSES_WITHOUT_PAGE, "value": n, "unit": "responses", "labels": labels}
        events.append((end, "custom", custom))
    errors = 0
    for kind, message, n in _errors(run.stats):
        errors += n
        error = {"site": site, "attempt": 1, "type": kind, "message": message[:_LONGEST], "count": n}
        events.append((end, "error_occurred", error))
    if memory := count(run.stats, "memusage/max", 2**53):
        events.append((end, "resources", {"memory_mb": memory / _MEBIBYTE}))
    if ended:
        reason = (run.finish_reason or "unknown")[:_LONGEST]
        totals: dict[str, Any] = {}
        if run.complete:
            totals = {
                "jobs": jobs + dropped,
                "pages": pages,
                "errors": errors,
                "duration": _duration(run, start, end),
            }
        success = reason == "finished"
        said = {} if success else {"error_message": f"Scrapy finished with {reason}"}
        events.append(
            (end, "site_finished", {"site": site, "attempt": 1, "success": success, **said, **totals})
        )
        events.append(
            (end, "session_finished", {"status": session_status(reason), "reason": reason, **totals})
        )
    return [
        {"session_id": session_id, "metric": metric, "value": value, "timestamp": _rfc3339(time + shift)}
        for time, metric, value in events
    ]


def session_status(finish_reason: str) -> str:
    """The status of a session that Scrapy ended for that reason: completed, cancelled or failed.

    `closespider_…` is a limit that the user set, so the session is completed; `shutdown` is a signal to stop.
    """
    if finish_reason == "finished" or finish_reason.startswith("closespider_"):
        return "completed"
    return "cancelled" if finish_reason in ("shutdown", "cancelled") else "failed"


def count(stats: Mapping[str, Plain], key: str, most: int = _MOST) -> int:
    """The count under that key: 0 if it is missing or no whole number from 0 to `most`."""
    value = stats.get(key)
    return value if type(value) is int and 0 <= value <= most else 0


def _totals(run: Run) -> tuple[int, int]:
    """Items and pages: as the dump says; where there is no whole dump, as far as LogStats or the rest of it tell."""
    last = run.log_stats[-1] if run.log_stats and not run.complete else None
    items, pages = (last.items_total, last.pages_total) if last else (0, 0)
    if "item_scraped_count" in run.stats:
        items = count(run.stats, "item_scraped_count")
    for key in ("response_received_count", "downloader/response_count"):
        # Of a dump that is cut off, the count of responses says too much: redirects are among them.
        if key in run.stats and (run.complete or key == "response_received_count"):
            pages = count(run.stats, key)
            break
    return items, pages


def _steps(
    run: Run, items: int, pages: int, start: datetime, end: datetime
) -> list[tuple[datetime, int, int]]:
    """(time, items, pages) gained at each LogStats line, and the rest at the end; they sum to `items` and `pages`."""
    steps = []
    items_before = pages_before = 0
    time = start
    for stat in run.log_stats:
        items_now = min(items, max(items_before, stat.items_total))
        pages_now = min(pages, max(pages_before, stat.pages_total))
        if (items_now, pages_now) != (items_before, pages_before):
            # A log line's time is cut to the second, so it may lie just outside of the run; summer time may end within it.
            time = min(max(stat.time, time), end)
            steps.append((time, items_now - items_before, pages_now - pages_before))
        items_before, pages_before = items_now, pages_now
    if (items_before, pages_before) != (items, pages):
        steps.append((end, items - items_before, pages - pages_before))
    return steps


def _counts(stats: Mapping[str, Plain], prefix: str) -> dict[str, int]:
    found = {key[len(prefix) :]: count(stats, key) for key in stats if key.startswith(prefix)}
    return {name: found[name] for name in sorted(found) if found[name]}


def _http(stats: Mapping[str, Plain], prefix: str) -> dict[str, int]:
    return {
        status: n
        for status, n in _counts(stats, prefix).items()
        if len(status) == 3 and status.isascii() and status.isdigit() and status >= "100"
    }


def _page_statuses(stats: Mapping[str, Plain], pages: int) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """Statuses of the pages (they sum to `pages`, "" for those unknown), and (status, count) of the responses that became none.

    The dump tells only the sums. What it says was retried comes first, then redirects, then the commonest status (a page may
    redirect with a meta tag).
    """
    left = _http(stats, _STATUS)
    surplus = sum(left.values()) - pages
    without: dict[str, int] = {}

    def take(status: str, n: int) -> None:
        nonlocal surplus
        n = min(n, left.get(status, 0), surplus)
        if n > 0:
            left[status] -= n
            without[status] = without.get(status, 0) + n
            surplus -= n

    for reason, n in _counts(stats, _RETRIED).items():
        take(reason.partition(" ")[0], n)
    for status in _REDIRECTS:
        take(status, left.get(status, 0))
    for status in sorted(left, key=lambda s: (-left[s], s)):
        take(status, left[status])
    if surplus < 0:
        left[""] = -surplus
    return {status: n for status, n in left.items() if n}, sorted(without.items())


def _share(left: dict[str, int], wanted: int) -> list[tuple[str, int]]:
    """Takes `wanted` out of `left` in proportion, by largest remainder; what it gives sums to `wanted` exactly."""
    whole = sum(left.values())
    if not wanted:
        return []
    shares = {status: divmod(n * wanted, whole) for status, n in left.items()}
    missing = wanted - sum(share for share, _ in shares.values())
    rounded_up = sorted(shares, key=lambda status: (-shares[status][1], status))[:missing]
    given = [(status, share + (status in rounded_up)) for status, (share, _) in sorted(shares.items())]
    for status, n in given:
        left[status] -= n
    return [(status, n) for status, n in given if n]


def _errors(stats: Mapping[str, Plain]) -> Iterator[tuple[str, str, int]]:
    """(type, message, count) of each kind of error."""
    robots = _http(stats, _ROBOTS_STATUS)
    for status, n in _http(stats, _STATUS).items():
        if status >= "400":
            for_robots = min(n, robots.get(status, 0))
            if n > for_robots:
                yield status, f"HTTP {status}", n - for_robots
            # A site without a robots.txt only has no rules; one that refuses it may well refuse the pages.
            if for_robots and status not in _NOT_THERE:
                yield status, f"HTTP {status} for robots.txt", for_robots
    for name, n in _counts(stats, _EXCEPTION).items():
        if name not in _NOT_SENT:
            yield exception_type(name), name, n
    raised = _counts(stats, _SPIDER_EXCEPTION)
    total = raised.pop("count", 0)
    if not raised and total:
        raised = {"exception in the spider": total}
    for name, n in raised.items():
        yield "parsing", name, n


def exception_type(name: str) -> str:
    """The error type of a downloader exception, by the dotted name of its class: timeout, proxy, network or other."""
    module, _, short = name.rpartition(".")
    if "Timeout" in short or "TimedOut" in short:
        return "timeout"
    if any(word in short for word in ("Proxy", "Tunnel", "SOCKS", "Socks")):
        return "proxy"
    if module.split(".")[0] in _NETWORK_MODULES or any(word in short for word in _NETWORK_WORDS):
        return "network"
    return "other"


_NETWORK_MODULES = frozenset(
    {
        "twisted",
        "OpenSSL",
        "ssl",
        "socket",
        "aiohttp",
        "httpx",
        "httpcore",
        "requests",
        "urllib3",
        "h2",
        "curl_cffi",
    }
)
_NETWORK_WORDS = (
    "Connect",
    "DNS",
    "Resolve",
    "SSL",
    "Response",
    "Download",
    "Socket",
    "Network",
    "BrokenPipe",
)


def _duration(run: Run, start: datetime, end: datetime) -> float:
    told = run.stats.get("elapsed_time_seconds")
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= _MOST:
        return float(told)
    return min((end - start).total_seconds(), float(_MOST))


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
