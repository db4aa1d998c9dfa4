"""Leases: what only one process may do, and until when it may."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Engine, cast, func, literal, or_
from sqlalchemy.dialects import postgresql, sqlite

from records.engine import writing
from records.models import Base, Lease
from scrapewatch.time import SECOND, now_ns

_LEASES = Base.metadata.tables[Lease.__tablename__]


def hold_lease(engine: Engine, name: str, holder: str, seconds: float) -> bool:
    """Take or keep the lease ``name`` for ``holder``; False while another holds it. With ``seconds=0`` it is let go.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with writing(engine) as db:
        # One clock for all: the database's, where several machines share it.
        now: ColumnElement[int] = literal(now_ns(), BigInteger)
        insert: Any = sqlite.insert
        if db.dialect.name == "postgresql":
            now = cast(func.extract("epoch", func.clock_timestamp()) * SECOND, BigInteger)
            insert = postgresql.insert
        until = now + int(seconds * SECOND)
        put = insert(_LEASES).values(name=name, holder=holder, expires_at=until)
        taken = put.on_conflict_do_update(
            index_elements=[_LEASES.c.name],
            set_={"holder": put.excluded.holder, "expires_at": put.excluded.expires_at},
            where=or_(_LEASES.c.holder == holder, _LEASES.c.expires_at <= now),
        ).returning(_LEASES.c.holder)
        return db.scalar(taken) is not None
