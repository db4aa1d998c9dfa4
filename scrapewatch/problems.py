"""What can go wrong, as a tree::

ScrapewatchError
├── InvalidInput          the caller sent something that cannot be used; says what to do
├── NotFound              no such thing, or not the caller's
├── Unauthenticated       nobody knows who asks: no credential, or none that is good
├── Forbidden             it is known who asks, and that they may not
├── Unsupported           what is asked for needs a part that is not set up
├── Conflict              the same key with another body
├── StoreUnavailable      a store does not answer now: keep, and try again
│   └── TenantRefused     it refuses what is one tenant's (its token, its bucket); others are not affected
├── SpoolFull             no room to make an event durable: nothing was accepted
├── Busy                  more under way than fits at once: nothing was accepted
├── TooMuch               one tenant sends more than its share: nothing was accepted
│   └── RateLimited       one key, tenant or address asks too often
└── ConfigurationError    a start that cannot go well: says which setting to change
"""

from __future__ import annotations


class ScrapewatchError(Exception):
    """The root of the errors of scrapewatch's own."""


class InvalidInput(ScrapewatchError):
    """The caller sent something that cannot be used."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(ScrapewatchError):
    """There is no such thing, or it is another tenant's."""


class Unauthenticated(ScrapewatchError):
    """The request shows no credential, or one that is not known, was revoked or has expired."""


class Forbidden(ScrapewatchError):
    """The credential is good, but not for this."""


class Unsupported(ScrapewatchError):
    """What is asked for needs a part that this installation does without; says which."""


class Conflict(ScrapewatchError):
    """The request contradicts one that was accepted before."""


class StoreUnavailable(ScrapewatchError):
    """A store does not answer, or refuses for a reason that may pass: what was to be written is kept.

    ``retry_after`` is in seconds where the store named it.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TenantRefused(StoreUnavailable):
    """A store refuses what is one tenant's: it does not know its token, or lacks its bucket. It answers others all the same."""


class SpoolFull(ScrapewatchError):
    """There is no room to make an event durable."""


class Busy(ScrapewatchError):
    """More requests are under way than fit into memory at once; it will pass."""


class TooMuch(ScrapewatchError):
    """A tenant sends more than its share, or faster than it may; others are not affected.

    ``retry_after`` is in seconds where it is known.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(TooMuch):
    """A key, a tenant or an address asks more often than it may."""


class ConfigurationError(ScrapewatchError):
    """The settings or the surroundings do not allow a start."""
