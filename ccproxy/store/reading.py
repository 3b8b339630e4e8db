"""The usage ledger, read by another program than the server. Blocks.

Nothing is made or changed: not the file, and not its schema.
"""

import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from ccproxy.core.errors import StorageFailed
from ccproxy.core.usage import UsageReport
from ccproxy.store.usage import books

_BUSY_SECONDS = 10


def read_books(url: str, since_day: str) -> UsageReport:
    """What the ledger of a database says from a day on; nothing if there is none.

    Raises:
        StorageFailed: it cannot be read; one line for the operator.
    """
    engine = _engine(url)
    if engine is None:
        return UsageReport()
    try:
        with engine.connect() as connection:
            return books(connection, since_day)
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        words = " ".join(str(cause).split())
        raise StorageFailed(f"the store cannot be read: {words}") from error
    finally:
        engine.dispose()


def _engine(url: str) -> Engine | None:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        return _sqlite(path) if path.exists() else None
    if find_spec("psycopg") is None:
        raise StorageFailed("PostgreSQL needs: pip install 'ccproxy[postgres]'")
    limits = {"connect_timeout": _BUSY_SECONDS}
    return create_engine(parsed, hide_parameters=True, connect_args=limits)


def _sqlite(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        # Not made if it goes away meanwhile; what a server has not yet moved into the
        # file can be read only by who may write.
        address = f"{path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)

    creator: Any = connect
    return create_engine("sqlite://", creator=creator, hide_parameters=True)
