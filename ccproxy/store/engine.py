"""Engines for SQLite and PostgreSQL: opened, private, and of today's schema.

Everything here blocks; it runs in the store's threads.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import QueuePool

from ccproxy.store.presence import AdvisoryLock, FileLock
from ccproxy.store.schema import REVISION, metadata, versions

DATABASE_FILE = "responses.sqlite"

_BUSY_SECONDS = 10
_CONNECTIONS = 4
_WRITABLE_BY_OTHERS = 0o022
_COMPANIONS = ("-wal", "-shm", ".lock")
# Anything, as long as all versions of ccproxy agree on it.
_MIGRATION_LOCK = 0x63637072


class Liveness(Protocol):
    """How servers of one database know which of them are alive."""

    def is_alive(self, connection: Connection, owner: str) -> bool:
        """Whether the server of that name runs."""

    def keep(self) -> None:
        """Be seen to be alive, again if need be."""

    def close(self) -> None:
        """Be it no longer."""


@frozen
class Engines:
    """A database that can be asked."""

    reading: Engine
    writing: Engine
    presence: Liveness

    def tidy(self) -> None:
        """Give room that is not needed back to the disk."""
        if self.writing.dialect.name == "sqlite":
            with self.writing.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                # As one statement it would give back one page only.
                raw.executescript("PRAGMA incremental_vacuum")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close; nothing else may be under way."""
        try:
            self.tidy()
        finally:
            self.presence.close()
            self.writing.dispose()


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can look into, or see `check_private` to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder)


def check_private(folder: Path) -> None:
    """See to it that nobody else puts files into a folder.

    Raises:
        PermissionError: others could.
    """
    about = folder.stat()
    if about.st_uid != os.geteuid():
        raise PermissionError(
            f"{folder} belongs to another user; choose another --state-dir"
        )
    if about.st_mode & _WRITABLE_BY_OTHERS:
        raise PermissionError(
            f"other users can write to {folder}; take that from them (chmod go-w), or "
            "choose another --state-dir"
        )


def open_engine(url: str, owner: str) -> Engines:
    """Open, and bring the schema up to date.

    Raises:
        SQLAlchemyError, OSError: it cannot be opened.
        NewerSchema: it is of a newer ccproxy.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        make_private(Path(parsed.database or "").parent)
        engine = _sqlite(parsed)
    else:
        if find_spec("psycopg") is None:
            raise ImportError("PostgreSQL needs: pip install 'ccproxy[postgres]'")
        engine = create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=_CONNECTIONS,
            hide_parameters=True,
            connect_args={"connect_timeout": _BUSY_SECONDS},
        )
    writing = engine.execution_options(writes=True)
    try:
        with _alone(parsed), writing.begin() as connection:
            _migrate(connection)
        presence: Liveness = (
            FileLock(Path(parsed.database or "").parent / "servers", owner)
            if engine.dialect.name == "sqlite"
            else AdvisoryLock(engine, owner)
        )
    except BaseException:
        engine.dispose()
        raise
    return Engines(engine, writing, presence)


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """Let one server at a time open a SQLite file.

    A file becomes a write-ahead one without waiting for who is at it; PostgreSQL has a
    lock for what has to be done alone, see `_migrate`.
    """
    if url.get_backend_name() != "sqlite":
        yield
        return
    handle = os.open(f"{url.database}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def store_url(database_url: str | None, state_dir: Path | None) -> str | None:
    """Where a server keeps things, by its settings; None: nowhere that lasts."""
    if database_url is not None:
        return database_url
    return None if state_dir is None else sqlite_url(state_dir / DATABASE_FILE)


def sqlite_url(path: Path) -> str:
    """The URL of a file."""
    url = URL.create("sqlite", database=str(path.absolute()))
    return url.render_as_string()


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    # SQLite gives its other files the mode of this one.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    for own in (path, *(path.with_name(path.name + end) for end in _COMPANIONS)):
        if own.exists():
            own.chmod(0o600)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
    )

    def connected(connection: Any, _: object) -> None:
        # We begin transactions ourselves, see below.
        connection.isolation_level = None
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            # What is deleted is overwritten.
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    def begun(connection: Connection) -> None:
        # A reader that becomes a writer may find that another was faster.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:key)")
        connection.execute(lock, {"key": _MIGRATION_LOCK})
    revision = _revision(connection)
    if revision == REVISION:
        return
    if revision is None:
        metadata.create_all(connection)
        connection.execute(versions.insert().values(version_num=REVISION))
        return
    # Costs memory, and is seldom needed.
    from ccproxy.store.migrating import upgrade

    upgrade(connection, revision)


def _revision(connection: Connection) -> str | None:
    """What the database is of, as Alembic notes it; None: of nothing."""
    if not inspect(connection).has_table(versions.name):
        versions.create(connection)
    return connection.execute(select(versions.c.version_num)).scalar()
