"""Cursors of lists that are sorted by a time and then by an id, the newest first.

A cursor names a place in the order and not a number of rows: what comes meanwhile neither repeats nor hides a row.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, literal, tuple_

from scrapewatch.problems import InvalidInput
from scrapewatch.time import to_datetime, to_ns


def cursor_at(moment: datetime, row_id: int) -> str:
    """The cursor of the place behind the row of ``moment`` and ``row_id``."""
    text = json.dumps([to_ns(moment) // 1_000, row_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def behind(cursor: str, moment: Column[Any], row_id: Column[Any]) -> ColumnElement[bool]:
    """Whether a row comes after ``cursor``, in a list by the columns ``moment`` and ``row_id``.

    Raises:
        InvalidInput: no list gave out that cursor.
    """
    at, known = _read(cursor)
    return tuple_(moment, row_id) < tuple_(literal(at, moment.type), literal(known, BigInteger))


def _read(cursor: str) -> tuple[datetime, int]:
    try:
        moment, row_id = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        if not (type(moment) is type(row_id) is int and abs(row_id) < 2**63):
            raise ValueError("no cursor of ours")
        return to_datetime(moment * 1_000), row_id
    except (ValueError, TypeError, OverflowError, OSError, RecursionError, binascii.Error) as error:
        raise InvalidInput(
            "cursor is none that a list gave out: take next_cursor as it is", "cursor"
        ) from error
