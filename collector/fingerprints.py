"""What errors of one cause have in common, and what tells one posting from another."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from collector.decode import Event
from scrapewatch.measurements import ERROR_TYPES


@lru_cache(maxsize=10_000)
def error_tag(kind: str) -> str:
    """The tag of an error's type: a known one or an HTTP status, or else ``other``, so that its values stay few."""
    kind = kind.lower()
    if kind in ERROR_TYPES or (len(kind) == 3 and kind.isascii() and kind.isdigit()):
        return kind
    return "other"


_ADDRESS = re.compile(r"https?://\S+")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")


@lru_cache(maxsize=2_000)
def error_fingerprint(kind: str, message: str) -> str:
    """What errors of one cause have in common: the type and the message without addresses and numbers."""
    shape = _NUMBER.sub("#", _ADDRESS.sub("<url>", message[:2_000]))
    return hashlib.sha256(f"{kind.lower()}\0{shape}".encode()).hexdigest()[:32]


def posting_fingerprint(site: str, job: Event) -> str:
    """The same for every sight of a posting: its address, or else what it says it is."""
    named = (job.title, job.company, job.location)
    parts = [site, job.url] if job.url else [site, *(str(part or "").strip().lower() for part in named)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
