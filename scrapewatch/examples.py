"""One example of each type of event, with every field it knows: shown by the documentation, held valid by the tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from scrapewatch import histogram
from scrapewatch.events import OWN

_SESSION = "indeed-2026-01-05-0800"
_TIME = "2026-01-05T08:00:00Z"

_OPENING: dict[str, Any] = {
    "search_term": "python developer",
    "location": "Berlin",
    "sites": ["indeed", "linkedin"],
    "max_jobs_per_site": 500,
    "max_concurrency": 8,
    "source": "scrapy",
    "schedule": "8h",
}

_VALUES: dict[str, dict[str, Any]] = {
    "session_queued": _OPENING,
    "session_started": {**_OPENING, "pid": 4711, "host": "worker-1"},
    "session_paused": {"reason": "maintenance of the proxies"},
    "session_resumed": {"reason": "the proxies are back"},
    "session_finished": {
        "status": "completed",
        "reason": "finished",
        "jobs": 412,
        "pages": 96,
        "errors": 3,
        "duration": 318.4,
    },
    "site_started": {"site": "indeed", "attempt": 1},
    "site_finished": {
        "site": "indeed",
        "attempt": 1,
        "success": False,
        "error_message": "blocked after 40 pages",
        "jobs": 212,
        "pages": 46,
        "errors": 3,
        "duration": 142.7,
    },
    "job_scraped": {
        "site": "indeed",
        "count": 1,
        "saved": 1,
        "duplicate": 0,
        "dropped": 0,
        "invalid": 0,
        "attempt": 1,
        "job": {
            "title": "Python developer",
            "company": "Example GmbH",
            "location": "Berlin",
            "salary": "€65,000 – €80,000 a year",
            "salary_min": 65000,
            "salary_max": 80000,
            "salary_interval": "year",
            "salary_currency": "EUR",
            "skills": ["python", "postgresql"],
            "posted_at": "2026-01-04T00:00:00Z",
            "url": "https://jobs.example/42",
            "is_remote": False,
            "job_type": "full-time",
            "description": "You keep our spiders fed.",
        },
    },
    "page_processed": {
        "site": "indeed",
        "attempt": 1,
        "duration": 0.84,
        "status": 200,
        "bytes": 48213,
        "blocked": False,
        "count": 1,
    },
    "error_occurred": {
        "site": "indeed",
        "type": "429",
        "message": "Too Many Requests",
        "url": "https://jobs.example/search?page=7",
        "attempt": 1,
        "count": 1,
    },
    "circuit_breaker": {
        "site": "indeed",
        "state": "open",
        "failures": 5,
        "successes": 0,
        "last_failure_time": "2026-01-05T07:59:58Z",
    },
    "queue": {"site": "indeed", "depth": 120, "pending": 8, "active_scrapers": 4},
    "resources": {
        "memory_mb": 212.5,
        "cpu_percent": 34.0,
        "threads": 12,
        "open_files": 48,
        "sampled": False,
    },
    "proxy": {
        "provider": "acme",
        "proxy": "acme-17",
        "requests": 40,
        "failures": 2,
        "bans": 1,
        "latency": 0.42,
        "bytes": 1830021,
        "cost": 0.018,
    },
    "data_quality": {
        "site": "indeed",
        "items": 200,
        "valid": 196,
        "duplicates": 11,
        "field_coverage": {"title": 1.0, "salary": 0.34},
    },
    "cost": {"site": "indeed", "amount": 1.25, "currency": "USD", "kind": "proxy"},
    "progress": {"site": "indeed", "done": 40, "total": 120},
    "custom": {"name": "captcha_balance", "value": 412.5, "unit": "credits", "labels": {"vendor": "acme"}},
    "host": {
        "host": "worker-1",
        "cpu_percent": 37.5,
        "cores": [40.0, 35.0],
        "memory_total": 8_000_000_000,
        "memory_available": 3_000_000_000,
        "memory_percent": 62.5,
        "swap_total": 2_000_000_000,
        "swap_percent": 1.5,
        "load_1": 0.8,
        "load_5": 0.7,
        "load_15": 0.6,
        "process_memory": 180_000_000,
        "process_cpu_percent": 4.0,
        "disk_read_bytes": 4096,
        "disk_written_bytes": 65536,
        "disks": [{"mount": "/", "total": 100_000_000_000, "used": 40_000_000_000, "percent": 40.0}],
        "interfaces": [{"name": "eth0", "sent_bytes": 12345, "received_bytes": 67890}],
        "processes": [
            {
                "process": "influxd",
                "count": 1,
                "cpu_percent": 12.5,
                "memory": 420_000_000,
                "threads": 14,
                "open_files": 96,
            }
        ],
    },
    "service_check": {"service": "postgresql", "up": True, "response_time": 0.004},
    "collector": {
        "collector": "0",
        "host": "worker-1",
        "accepted": 1204,
        "delivered": 1180,
        "dead_lettered": 0,
        "duplicates": 12,
        "requests": 61,
        "rejected": 1,
        "refused": 0,
        "live_dropped": 0,
        "sampler_seconds": 0.012,
        "spooled": 24,
        "spool_bytes": 65536,
        "flushes_pending": 1,
        "oldest_age": 0.8,
        "unrecorded_age": 0.4,
        "problems": 0,
        "ack_sum": 0.244,
        "ack_count": 61,
        "ack_max": 0.011,
        "commit_sum": 0.12,
        "commit_count": 40,
        "commit_max": 0.009,
        "fold_sum": 0.05,
        "fold_count": 10,
        "fold_max": 0.008,
        "write_series_sum": 0.2,
        "write_series_count": 10,
        "write_series_max": 0.04,
        "apply_records_sum": 0.1,
        "apply_records_count": 10,
        "apply_records_max": 0.02,
        **{name: {4: 40, 5: 20, 7: 1}.get(k, 0) for k, name in enumerate(histogram.FIELDS)},
    },
}


def _example(metric: str, value: Mapping[str, Any]) -> dict[str, Any]:
    session = {} if metric in OWN else {"session_id": _SESSION}
    return {**session, "metric": metric, "value": value, "timestamp": _TIME, "event_id": f"{metric}-1"}


EVENTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {metric: _example(metric, value) for metric, value in _VALUES.items()}
)
"""By type: an event as it is sent."""
