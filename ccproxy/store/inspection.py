"""Inspects a server's database from another program, without changing it.

The functions block the calling thread.

`ccproxy.store.engine.open_engines` would create a missing file or migrate the schema.
"""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy
from attrs import frozen
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from ccproxy.core.errors import StorageFailed
from ccproxy.core.usage import UsageReport
from ccproxy.store.engine import BUSY_SECONDS, require_psycopg
from ccproxy.store.schema import REVISION, versions
from ccproxy.store.upgrade import known_revisions
from ccproxy.store.usage import read_report


@frozen(kw_only=True)
class Inspection:
    """The result of `inspect`.

    Attributes:
        name: the database's path, or URL without the password.
        schema: the schema's revision; None: no server has ever opened the database.
        newest: the newest revision that this ccproxy knows.
        is_known: whether this ccproxy knows ``schema``.
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
    """Read the schema's revision, and check the permissions that a server needs.

    A SQLite file must be writable. If a PostgreSQL database has to be migrated, the
    user must be allowed to create tables.

    Raises:
        SQLAlchemyError, sqlite3.Error, OSError, ImportError: the database cannot be
            used.
    """
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    name = str(parsed.database) if is_sqlite else parsed.render_as_string()
    engine = _open_existing(parsed)
    if engine is None:
        return Inspection(name=name, schema=None)
    try:
        with engine.connect() as connection:
            if is_sqlite:
                # Takes the write lock, and fails if the file cannot be written.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            found = _inspection(connection, name)
            if not is_sqlite and not found.is_current:
                # A server needs this permission to migrate. The table is rolled back.
                connection.execute(text("CREATE TABLE ccproxy_doctor (id integer)"))
            if is_sqlite:
                connection.exec_driver_sql("ROLLBACK")
            connection.rollback()
            return found
    finally:
        engine.dispose()


def read_usage(url: str, since_day: str, by: str = "") -> UsageReport:
    """The usage report of a database since a day; empty if there is no database.

    If ``by`` is ``conversation``, each line is a conversation used since the day.

    Raises:
        StorageFailed: the database cannot be read; the message is one line for the
            operator.
    """
    try:
        engine = _open_existing(make_url(url))
    except ImportError as error:
        raise StorageFailed(str(error)) from error
    if engine is None:
        return UsageReport()
    try:
        with engine.connect() as connection:
            return read_report(connection, since_day, by)
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        words = " ".join(str(cause).split())
        raise StorageFailed(f"the store cannot be read: {words}") from error
    finally:
        engine.dispose()


def _open_existing(url: URL) -> Engine | None:
    """Make an engine for a database; None: the SQLite file does not exist."""
    if url.get_backend_name() != "sqlite":
        require_psycopg()
        limits = {"connect_timeout": BUSY_SECONDS}
        return create_engine(url, hide_parameters=True, connect_args=limits)
    path = Path(url.database or "")
    if not path.exists():
        return None

    def connect() -> sqlite3.Connection:
        # ``rw`` does not create the file; with ``ro``, `inspect` could not take the
        # write lock.
        address = f"{path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(
            address, uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )

    creator: Any = connect
    return create_engine("sqlite://", creator=creator, hide_parameters=True)


def _inspection(connection: Connection, name: str) -> Inspection:
    schema = None
    if sqlalchemy.inspect(connection).has_table(versions.name):
        schema = connection.execute(select(versions.c.version_num)).scalar()
    is_known = schema is None or schema in known_revisions()
    return Inspection(name=name, schema=schema, is_known=is_known)
