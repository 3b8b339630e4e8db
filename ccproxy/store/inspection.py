"""A look at a database that changes nothing in it. Blocks.

Even opening one the usual way would make the file, or bring its schema up to date.
"""

import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy
from attrs import frozen
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.engine import make_url

from ccproxy.store.migrating import known_revisions
from ccproxy.store.schema import REVISION, versions

_BUSY_SECONDS = 10


@frozen(kw_only=True)
class Inspection:
    """What there is.

    Attributes:
        name: of the database, without a password.
        schema: that it has; None: no server has ever opened it.
        newest: that we know.
        is_known: whether we know ``schema``.
    """

    name: str
    schema: str | None
    newest: str = REVISION
    is_known: bool = True

    @property
    def is_current(self) -> bool:
        """Whether nothing has to be migrated."""
        return self.schema == self.newest


def inspect(url: str) -> Inspection:
    """Look at a database, and see that it can be written.

    Raises:
        SQLAlchemyError, sqlite3.Error, OSError, ImportError: it cannot be used.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(Path(parsed.database or ""))
    if find_spec("psycopg") is None:
        raise ImportError("PostgreSQL needs: pip install 'ccproxy[postgres]'")
    engine = create_engine(
        parsed, hide_parameters=True, connect_args={"connect_timeout": _BUSY_SECONDS}
    )
    try:
        with engine.connect() as connection:
            found = _found(connection, parsed.render_as_string(hide_password=True))
            if not found.is_current:
                # As the first start would; it is rolled back.
                connection.execute(text("CREATE TABLE ccproxy_doctor (id integer)"))
            connection.rollback()
            return found
    finally:
        engine.dispose()


def _sqlite(path: Path) -> Inspection:
    if not path.exists():
        return Inspection(name=str(path), schema=None)

    def connect() -> sqlite3.Connection:
        # Not made if it goes away meanwhile.
        address = f"{path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(
            address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )

    creator: Any = connect
    engine = create_engine("sqlite://", creator=creator, hide_parameters=True)
    try:
        with engine.connect() as connection:
            # Takes the lock of who writes, and says if nothing can be written.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            found = _found(connection, str(path))
            connection.exec_driver_sql("ROLLBACK")
            return found
    finally:
        engine.dispose()


def _found(connection: Connection, name: str) -> Inspection:
    schema = None
    if sqlalchemy.inspect(connection).has_table(versions.name):
        schema = connection.execute(select(versions.c.version_num)).scalar()
    is_known = schema is None or schema in known_revisions()
    return Inspection(name=name, schema=schema, is_known=is_known)
