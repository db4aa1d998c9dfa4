"""The event types: what scrapers report, as a union told apart by ``metric``.

The body of an event is ``{"session_id": …, "metric": …, "value": {…}, "timestamp": …, "event_id": …}``, the historic body of the
orchestrator included. Types are strict (``"1"`` and ``true`` are no numbers), keys that are not known are passed over, so that a newer
scraper may talk to an older collector. Durations are in seconds, sizes in bytes unless the name says otherwise.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    TypeAdapter,
    create_model,
)
from pydantic_core import CoreSchema

from scrapewatch.measurements import ERROR_TYPES, MEASUREMENTS
from scrapewatch.time import to_ns

MOST_LABELS = 5
MOST_PROCESSES = 50

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_YEARS = range(1900, 2200)  # as 64 bits of nanoseconds since 1970 hold


def _plain(text: str) -> str:
    """Text that every store can hold: no NUL, no lone surrogate."""
    if "\0" in text:
        raise ValueError("has a NUL character; leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair; send valid Unicode") from None
    return text


class Described:
    """Says in JSON schemas by a ``pattern`` what a validator demands of a text; it demands nothing itself."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": self._pattern}


_WITHOUT_NUL = Described("^[^\\u0000]*$")
_NOT_BLANK = Described("^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")


def _utc(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError("is out of range")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment(value: Any) -> Any:
    # Pydantic would take numbers in text, and booleans, for seconds since 1970.
    if isinstance(value, bool) or (isinstance(value, str) and not _DATE.match(value)):
        raise ValueError("is no RFC 3339 date and time, such as 2026-01-05T10:00:00Z")
    if isinstance(value, str):
        # The parser of the fast path first, so that both round alike; what it does not take may be ISO 8601 all the same.
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert(value, datetime)
    return value


def _error_type(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_utc)]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, strip_whitespace=True),
    AfterValidator(_plain),
    _NOT_BLANK,
]
Id = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_plain), _WITHOUT_NUL]
Short = Annotated[str, StringConstraints(max_length=500), AfterValidator(_plain), _WITHOUT_NUL]
Address = Annotated[str, StringConstraints(max_length=4_000), AfterValidator(_plain), _WITHOUT_NUL]
Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_plain), _WITHOUT_NUL]
LongText = Annotated[str, StringConstraints(max_length=200_000), AfterValidator(_plain), _WITHOUT_NUL]
Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
OneOrMore = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e15, le=1e15)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1e15)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1e9)]
Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Percent = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=100_000)]
Flag = Annotated[bool, Field(strict=True)]
Attempt = Annotated[int, Field(strict=True, ge=1, le=10_000)]
ProcessId = Annotated[int, Field(strict=True, ge=1, le=2**32 - 1)]
Change = Annotated[int, Field(strict=True, ge=-(10**12), le=10**12)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Opening(_Part):
    """What a session is about."""

    search_term: Short | None = Field(None, description="what is searched for")
    location: Short | None = Field(None, description="where")
    sites: list[Name] = Field(default_factory=list, max_length=500, description="the sites it will visit")
    max_jobs_per_site: Count | None = Field(None, description="postings after which it leaves a site")
    max_concurrency: Count | None = Field(None, description="requests at once")
    source: Name | None = Field(
        None, description="what the scraper is made with: scrapy, crawlee, jobspy, node, …"
    )
    schedule: Short | None = Field(
        None, description="how often it should run, as cron or an interval such as 8h"
    )


class Start(Opening):
    """What a session is about, and the process that runs it."""

    pid: ProcessId | None = Field(
        None,
        description="id of the scraper's process: a collector on the same machine samples it and what it started",
    )
    host: Name | None = Field(None, description="name of the machine that the process runs on")


class Reason(_Part):
    """Why something changed."""

    reason: Short | None = Field(None, description="why")


class SessionEnd(Reason):
    """How a session ended, and its totals as the scraper counted them."""

    status: Literal["completed", "failed", "cancelled"] = Field("completed", description="how it ended")
    jobs: Count | None = Field(None, description="postings found")
    pages: Count | None = Field(None, description="pages processed")
    errors: Count | None = Field(None, description="errors")
    duration: Seconds | None = Field(None, description="how long it ran, s")


class SiteStart(_Part):
    """An attempt at a site begins."""

    site: Name = Field(description="the site")
    attempt: Attempt = Field(1, description="number of the attempt, from 1")


class SiteEnd(SiteStart):
    """An attempt at a site ended."""

    success: Flag = Field(True, description="whether it ended well")
    error_message: Text | None = Field(None, description="why not")
    jobs: Count | None = Field(None, description="postings found")
    pages: Count | None = Field(None, description="pages processed")
    errors: Count | None = Field(None, description="errors")
    duration: Seconds | None = Field(None, description="how long it took, s")


class Posting(_Part):
    """A job posting."""

    title: Short | None = Field(None, description="title")
    company: Short | None = Field(None, description="company")
    location: Short | None = Field(None, description="place")
    salary: Short | None = Field(
        None,
        description="salary as the site shows it",
        validation_alias=AliasChoices("salary", "salary_text"),
    )
    salary_min: Amount | None = Field(None, description="least salary")
    salary_max: Amount | None = Field(None, description="highest salary")
    salary_interval: Short | None = Field(None, description="year, month, week, day or hour")
    salary_currency: Short | None = Field(None, description="ISO 4217 code")
    skills: list[Short] = Field(default_factory=list, max_length=200, description="skills asked for")
    posted_at: Moment | None = Field(None, description="when it was posted")
    url: Address | None = Field(None, description="its address")
    is_remote: Flag | None = Field(None, description="whether it can be done from anywhere")
    job_type: Short | None = Field(None, description="full-time, contract, …")
    description: LongText | None = Field(None, description="the text")


class JobScraped(_Part):
    """Postings found at a site, and how they divide."""

    site: Name = Field(description="the site")
    count: Count = Field(1, description="postings found")
    saved: Count | None = Field(None, description="of these, stored")
    duplicate: Count | None = Field(None, description="of these, seen before")
    dropped: Count | None = Field(None, description="of these, left out")
    invalid: Count | None = Field(None, description="of these, without a required field")
    attempt: Attempt | None = Field(None, description="attempt at the site; the current one when not given")
    job: Posting | None = Field(None, description="the posting itself")


class PageProcessed(_Part):
    """A page, or ``count`` pages that are alike; ``duration`` and ``bytes`` are then of all of them together."""

    site: Name = Field(description="the site")
    attempt: Attempt | None = Field(None, description="attempt at the site; the current one when not given")
    duration: Seconds | None = Field(None, description="from request to the end of the answer, s")
    status: Annotated[int, Field(strict=True, ge=0, le=999)] | None = Field(None, description="HTTP status")
    bytes: Count | None = Field(None, description="size of the body")
    blocked: Flag = Field(False, description="whether it was a block, captcha or consent wall")
    count: OneOrMore = Field(1, description="how many pages this stands for")


class ErrorOccurred(_Part):
    """An error, or ``count`` errors that are alike."""

    site: Name = Field(description="the site")
    type: Annotated[Name, BeforeValidator(_error_type)] = Field(
        "other", description="one of " + ", ".join(ERROR_TYPES) + ", or an HTTP status"
    )
    message: Text | None = Field(None, description="what went wrong")
    url: Address | None = Field(None, description="where")
    attempt: Attempt | None = Field(None, description="attempt at the site; the current one when not given")
    count: OneOrMore = Field(1, description="how many errors this stands for")


class CircuitBreaker(_Part):
    """The state of a circuit breaker."""

    site: Name = Field(description="the site")
    state: Literal["closed", "open", "half_open"] = Field(description="its state")
    failures: Count | None = Field(None, description="failures it counts")
    successes: Count | None = Field(None, description="successes it counts")
    last_failure_time: Moment | None = Field(None, description="when it last counted a failure")


class Queue(_Part):
    """The queue of a site."""

    site: Name | None = Field(None, description="the site; none for the session as a whole")
    depth: Count | None = Field(None, description="requests that wait")
    pending: Count | None = Field(None, description="requests under way")
    active_scrapers: Count | None = Field(None, description="scrapers at work")


class Resources(_Part):
    """Resources of the scraper's own process."""

    memory_mb: Amount | None = Field(None, description="resident memory, MiB")
    cpu_percent: Percent | None = Field(None, description="use of one core, percent")
    threads: Count | None = Field(None, description="threads")
    open_files: Count | None = Field(None, description="open files and sockets")
    sampled: Flag | None = Field(
        None,
        description="whether the collector sampled it by itself: it is no sign of life of the scraper then",
    )


class Proxy(_Part):
    """Requests through a proxy."""

    provider: Name = Field(description="who provides it")
    proxy: Name | None = Field(None, description="an id of the proxy, never a credential")
    requests: Count = Field(1, description="requests")
    failures: Count = Field(0, description="of these, failed")
    bans: Count = Field(0, description="of these, banned")
    latency: Seconds | None = Field(None, description="mean time of these requests, s")
    bytes: Count | None = Field(None, description="bytes carried")
    cost: Amount | None = Field(None, description="cost, in your currency")


class DataQuality(_Part):
    """Quality of the items of a site."""

    site: Name = Field(description="the site")
    items: Count = Field(description="items looked at")
    valid: Count | None = Field(None, description="of these, valid")
    duplicates: Count | None = Field(None, description="of these, duplicates")
    field_coverage: dict[Name, Share] = Field(
        default_factory=dict,
        max_length=200,
        description="share of items that have the field filled, by field",
    )


class Cost(_Part):
    """What something cost."""

    site: Name | None = Field(None, description="the site")
    amount: Amount = Field(description="amount")
    currency: Name = Field("USD", description="ISO 4217 code")
    kind: Literal["proxy", "compute", "captcha", "api", "other"] = Field("other", description="what for")


class Progress(_Part):
    """How far a session is."""

    site: Name | None = Field(None, description="the site; none for the session as a whole")
    done: Count = Field(description="steps done")
    total: Count | None = Field(None, description="steps in all, as far as known")


class Custom(_Part):
    """A figure of the user's own."""

    name: Name = Field(description="name of the figure")
    value: Finite = Field(description="the figure")
    unit: Name | None = Field(None, description="its unit")
    labels: dict[Name, Name] = Field(
        default_factory=dict,
        max_length=MOST_LABELS,
        description=f"up to {MOST_LABELS} labels with few values each",
    )


class Disk(_Part):
    """A mounted file system."""

    mount: Name = Field(description="where it is mounted")
    total: Count = Field(description="size, bytes")
    used: Count = Field(description="space used, bytes")
    percent: Percent = Field(description="use, percent")


class Interface(_Part):
    """A network interface, since the sample before."""

    name: Name = Field(description="its name")
    sent_bytes: Count = Field(description="bytes sent")
    received_bytes: Count = Field(description="bytes received")


class HostProcess(_Part):
    """The processes of one name."""

    process: Name = Field(description="their name; other for those beyond the number of names that are kept")
    count: Count = Field(description="how many they are")
    cpu_percent: Percent = Field(description="use of one core, percent, added up")
    memory: Count = Field(description="resident memory, bytes, added up")
    threads: Count | None = Field(None, description="threads, added up")
    open_files: Count | None = Field(
        None, description="open files and sockets, added up, where the sampler may count them"
    )


class HostSample(_Part):
    """A sample of a machine."""

    host: Name = Field(description="name of the machine")
    cpu_percent: Percent = Field(description="use of all cores, percent")
    cores: list[Percent] = Field(
        default_factory=list, max_length=4_096, description="use of each core, percent"
    )
    memory_total: Count = Field(description="memory, bytes")
    memory_available: Count = Field(description="memory that can be had without swapping, bytes")
    memory_percent: Percent = Field(description="use of memory, percent")
    swap_total: Count = Field(0, description="swap space, bytes")
    swap_percent: Percent = Field(0.0, description="use of swap space, percent")
    load_1: Amount | None = Field(None, description="load average of one minute")
    load_5: Amount | None = Field(None, description="load average of five minutes")
    load_15: Amount | None = Field(None, description="load average of fifteen minutes")
    process_memory: Count | None = Field(
        None, description="resident memory of the sampler's own process, bytes"
    )
    process_cpu_percent: Percent | None = Field(None, description="use of one core by that process, percent")
    disk_read_bytes: Count | None = Field(None, description="bytes read since the sample before")
    disk_written_bytes: Count | None = Field(None, description="bytes written since the sample before")
    disks: list[Disk] = Field(default_factory=list, max_length=500, description="mounted file systems")
    interfaces: list[Interface] = Field(
        default_factory=list, max_length=500, description="network interfaces"
    )
    processes: list[HostProcess] = Field(
        default_factory=list,
        max_length=MOST_PROCESSES,
        description="those that use most of the processor or of memory, and those of scrapewatch",
    )


class ServiceCheck(_Part):
    """A check of a service."""

    service: Name = Field(description="name of the service")
    up: Flag = Field(description="whether it was found up")
    response_time: Seconds = Field(description="how long the check took, s")


def _figures(measurement: str) -> dict[str, Any]:
    """The fields of an event of our own that is one point of ``measurement``: its tags, which it must have, and its fields."""
    known = MEASUREMENTS[measurement]
    fields: dict[str, Any] = {tag.name: (Name, Field(description=tag.description)) for tag in known.tags}
    for field in known.fields:
        kind: Any = Amount if field.type is float else Change if field.name == "dead_lettered" else Count
        described = field.description if field.unit == "1" else f"{field.description}, {field.unit}"
        fields[field.name] = (kind | None, Field(None, description=described))
    return fields


if TYPE_CHECKING:

    class CollectorReport(_Part):
        """The fields of the measurement ``collector``."""

else:
    CollectorReport = create_model(
        "CollectorReport",
        __base__=_Part,
        __module__=__name__,
        __doc__="What a collector did since its report before, and how it is.",
        **_figures("collector"),
    )


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore")

    session_id: Id = Field(description="the session it belongs to; one that is not known is opened")
    timestamp: Moment | None = Field(
        None, description="when it happened, RFC 3339; when it came, if not given"
    )
    event_id: Id | None = Field(None, description="makes the event idempotent")


class _FreeEvent(_Event):
    session_id: Id | None = Field(None, description="the session it belongs to, if any")  # type: ignore[assignment]


class _HostEvent(_FreeEvent):
    session_id: Id | None = Field(None, description="not used: it belongs to no session")


class SessionQueued(_Event):
    """A session waits to start."""

    metric: Literal["session_queued"]
    value: Opening = Field(default_factory=Opening)


class SessionStarted(_Event):
    """A session starts."""

    metric: Literal["session_started"]
    value: Start = Field(default_factory=Start)


class SessionPaused(_Event):
    """A session pauses."""

    metric: Literal["session_paused"]
    value: Reason = Field(default_factory=Reason)


class SessionResumed(_Event):
    """A session goes on."""

    metric: Literal["session_resumed"]
    value: Reason = Field(default_factory=Reason)


class SessionFinished(_Event):
    """A session ended."""

    metric: Literal["session_finished"]
    value: SessionEnd = Field(default_factory=SessionEnd)


class SiteStarted(_Event):
    """An attempt at a site begins."""

    metric: Literal["site_started"]
    value: SiteStart


class SiteFinished(_Event):
    """An attempt at a site ended."""

    metric: Literal["site_finished"]
    value: SiteEnd


class JobScrapedEvent(_Event):
    """Postings were found."""

    metric: Literal["job_scraped"]
    value: JobScraped


class PageProcessedEvent(_Event):
    """A page was processed."""

    metric: Literal["page_processed"]
    value: PageProcessed


class ErrorOccurredEvent(_Event):
    """An error occurred."""

    metric: Literal["error_occurred"]
    value: ErrorOccurred


class CircuitBreakerEvent(_Event):
    """A circuit breaker reports."""

    metric: Literal["circuit_breaker"]
    value: CircuitBreaker


class QueueEvent(_Event):
    """A queue reports."""

    metric: Literal["queue"]
    value: Queue


class ResourcesEvent(_Event):
    """A scraper's process reports."""

    metric: Literal["resources"]
    value: Resources


class ProxyEvent(_Event):
    """A proxy reports."""

    metric: Literal["proxy"]
    value: Proxy


class DataQualityEvent(_FreeEvent):
    """Quality of items, of a session or of none: what was looked at may come from many."""

    metric: Literal["data_quality"]
    value: DataQuality


class CostEvent(_Event):
    """Something cost money."""

    metric: Literal["cost"]
    value: Cost


class ProgressEvent(_Event):
    """How far it is."""

    metric: Literal["progress"]
    value: Progress


class CustomEvent(_Event):
    """A figure of the user's own."""

    metric: Literal["custom"]
    value: Custom


class HostEvent(_HostEvent):
    """A machine reports; scrapewatch's own sampler sends these."""

    metric: Literal["host"]
    value: HostSample


class ServiceCheckEvent(_HostEvent):
    """A service was checked; scrapewatch's own health checks send these."""

    metric: Literal["service_check"]
    value: ServiceCheck


class CollectorEvent(_HostEvent):
    """A collector reports on itself."""

    metric: Literal["collector"]
    value: CollectorReport


Event = Annotated[
    SessionQueued
    | SessionStarted
    | SessionPaused
    | SessionResumed
    | SessionFinished
    | SiteStarted
    | SiteFinished
    | JobScrapedEvent
    | PageProcessedEvent
    | ErrorOccurredEvent
    | CircuitBreakerEvent
    | QueueEvent
    | ResourcesEvent
    | ProxyEvent
    | DataQualityEvent
    | CostEvent
    | ProgressEvent
    | CustomEvent
    | HostEvent
    | ServiceCheckEvent
    | CollectorEvent,
    Field(discriminator="metric"),
]
"""One event."""

TYPES: tuple[type[_Event], ...] = get_args(get_args(Event)[0])
METRICS: tuple[str, ...] = tuple(get_args(kind.model_fields["metric"].annotation)[0] for kind in TYPES)
"""The names of all event types, in the order of the specification."""

OWN = frozenset(metric for metric, kind in zip(METRICS, TYPES, strict=True) if issubclass(kind, _HostEvent))
"""The names of those that scrapewatch sends about itself: they belong to no session."""

_MODELS: tuple[type[BaseModel], ...] = (*TYPES, *_Part.__subclasses__(), Start, SessionEnd, SiteEnd)
FIELD_NAMES = frozenset(name for model in _MODELS for name in model.model_fields)
"""The names of all fields: what of an error's place can be shown, since keys of mappings are input."""

_ADAPTER: TypeAdapter[_Event] = TypeAdapter(Event)


def validate(item: Any) -> dict[str, Any]:
    """The event in ``item`` as plain JSON values, with ``time`` in ns (None when it has no timestamp).

    Keys: ``session_id``, ``metric``, ``value`` (without what is None), ``time``, ``event_id``. Times in ``value`` are ns, too.

    Raises:
        pydantic.ValidationError: it is no event.
    """
    event = _ADAPTER.validate_python(item)
    value = {
        key: found
        for key, found in event.value.model_dump().items()  # type: ignore[attr-defined]
        if found is not None and found != [] and found != {}
    }
    if "last_failure_time" in value:
        value["last_failure_time"] = to_ns(value["last_failure_time"])
    if "job" in value:
        job = {key: found for key, found in value["job"].items() if found is not None and found != []}
        if "posted_at" in job:
            job["posted_at"] = to_ns(job["posted_at"])
        value["job"] = job
    return {
        "session_id": event.session_id,
        "metric": event.metric,  # type: ignore[attr-defined]
        "value": value,
        "time": None if event.timestamp is None else to_ns(event.timestamp),
        "event_id": event.event_id,
    }
