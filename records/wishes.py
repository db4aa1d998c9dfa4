"""Wishes for sessions: made by the API, carried back to scrapers by whichever collector hears of the session."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from records.engine import reading, writing
from records.merge import clean
from records.models import Base, ScrapeSession, SessionWish
from scrapewatch.problems import Conflict, NotFound
from scrapewatch.time import now_ns
from scrapewatch.wishes import ENDED, Wish, is_fulfilled

_SESSIONS: Table = Base.metadata.tables[ScrapeSession.__tablename__]
_WISHES: Table = Base.metadata.tables[SessionWish.__tablename__]


def make(engine: Engine, tenant: str, session_id: str, wish: str) -> Wish | None:
    """Wish that the session be what ``wish`` (pause, resume, cancel) says, instead of what was wished before; None when it is so already.

    The same wish again changes nothing.

    Raises:
        NotFound: ``tenant`` has no such session.
        Conflict: it has ended.
        StoreUnavailable: the records do not answer.
    """
    key = {"tenant": clean(tenant), "session_id": clean(session_id)}
    with writing(engine) as db:
        status = db.scalar(select(_SESSIONS.c.status).filter_by(**key))
        if status is None:
            raise NotFound("there is no session of that id")
        if status in ENDED:
            raise Conflict(f"the session has ended: it is {status}")
        if is_fulfilled(wish, status):
            db.execute(delete(_WISHES).filter_by(**key))
            return None
        known = db.execute(select(_WISHES.c.wish, _WISHES.c.wished_at).filter_by(**key)).one_or_none()
        if known is not None and known.wish == wish:
            return Wish(tenant, session_id, wish, known.wished_at)
        made = Wish(tenant, session_id, wish, now_ns())
        put = _insert(db)(_WISHES).values(**key, wish=wish, wished_at=made.wished_at)
        changed = {"wish": put.excluded.wish, "wished_at": put.excluded.wished_at}
        db.execute(put.on_conflict_do_update(index_elements=["tenant", "session_id"], set_=changed))
        return made


def pending(engine: Engine) -> list[Wish]:
    """The wishes of all tenants that are not fulfilled; forgets those that are.

    Raises:
        StoreUnavailable: the records do not answer.
    """
    of_session = and_(_SESSIONS.c.tenant == _WISHES.c.tenant, _SESSIONS.c.session_id == _WISHES.c.session_id)
    query = select(_WISHES, _SESSIONS.c.status).select_from(_WISHES.outerjoin(_SESSIONS, of_session))
    with reading(engine) as db:
        rows = db.execute(query).all()
    found: list[Wish] = []
    done: list[Wish] = []
    for tenant, session_id, wish, wished_at, status in rows:
        (done if is_fulfilled(wish, status) else found).append(Wish(tenant, session_id, wish, wished_at))
    if done:
        with writing(engine) as db:
            for each in done:
                # A newer one stays.
                db.execute(
                    delete(_WISHES).filter_by(
                        tenant=each.tenant, session_id=each.session_id, wished_at=each.wished_at
                    )
                )
    return found


def _insert(db: Connection) -> Any:
    return postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
