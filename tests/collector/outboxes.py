"""The outbox of a spool, as a process that was just started finds it."""

from __future__ import annotations

from collector.outbox import Outbox
from collector.spool import Spool


def outbox_of(spool: Spool) -> Outbox:
    """What waits in ``spool``; nothing of it is remembered from before."""
    return Outbox(spool.folder, spool)
