"""Records in a new SQLite file: a copy of one that was migrated once, since migrating anew takes a tenth of a second."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from records.engine import make_engine
from records.migrate import upgrade
from records.store import SqlRecords


def records_in(folder: Path) -> SqlRecords:
    """The records in the file ``records.sqlite`` of ``folder``, which is made if need be."""
    path = folder / "records.sqlite"
    if not path.exists():
        path.write_bytes(migrated())
    return SqlRecords(f"sqlite:///{path}")


@cache
def migrated() -> bytes:
    """A file with all tables, and nothing in them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.sqlite"
        engine = make_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()
        return path.read_bytes()
