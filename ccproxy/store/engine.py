"""Opens SQLite and PostgreSQL databases and brings their schema up to date.

All functions block, so a server calls them in the store's threads.
"""

import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakSet

from attrs import frozen
from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from ccproxy.store.liveness import AdvisoryLock, FileLock, Liveness
from ccproxy.store.schema import REVISION, metadata, versions

DATABASE_FILE = "responses.sqlite"

BUSY_SECONDS = 8
_CONNECT_SECONDS = 3
# Masks an extended SQLite error code; the rest is the primary code.
_PRIMARY_CODE = 0xFF
_CONNECTIONS = 4
_WRITABLE_BY_OTHERS = 0o022
_COMPANIONS = ("-wal", "-shm", ".lock")
# An arbitrary number, which must be the same in all versions of ccproxy.
_MIGRATION_LOCK = 0x63637072


class DatabaseReplaced(Exception):
    """The database was removed or replaced after it was opened."""


@frozen
class Engines:
    """An open database.

    Attributes:
        reading: for transactions that only read.
        writing: for transactions that write.
        liveness: this server's lock, and the check of other servers' locks.
        file: the path and the inode of the SQLite file; None: PostgreSQL.
    """

    reading: Engine
    writing: Engine
    liveness: Liveness
    file: tuple[str, int] | None

    def vacuum(self) -> None:
        """Return unused space to the disk."""
        if self.writing.dialect.name == "sqlite":
            with self.writing.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                # `execute` would step the statement once, which frees one page.
                raw.executescript("PRAGMA incremental_vacuum")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Context manager for each use of the database; detects a replaced database.

        Raises:
            DatabaseReplaced: the file was removed or replaced, or all tables are gone.
        """
        self._check_file()
        try:
            yield
        except DBAPIError as error:
            # SQLSTATE "undefined_table"; SQLite has no code for it.
            is_undefined = getattr(error.orig, "sqlstate", None) == "42P01"
            if (is_undefined or "no such table" in str(error.orig)) and not inspect(
                self.reading
            ).has_table(versions.name):
                raise DatabaseReplaced("the database has no tables any more") from error
            raise

    def abandon(self) -> None:
        """Close a database that was replaced."""
        # The lock's file may be gone, too.
        with suppress(OSError):
            self.liveness.close()
        self.writing.dispose()

    def close(self) -> None:
        """Close; nothing else may use the database."""
        try:
            self.vacuum()
        finally:
            self.liveness.close()
            self.writing.dispose()

    def _check_file(self) -> None:
        # Writes to a removed file would be lost.
        if self.file is not None:
            path, inode = self.file
            try:
                is_same = os.stat(path).st_ino == inode
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise DatabaseReplaced(f"{path} was removed or replaced")


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can read, or check an existing folder.

    Raises:
        PermissionError: another user owns the folder, or can write to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder)


def check_private(folder: Path) -> None:
    """Check that a folder belongs to this user, and that no other user can write to it.

    Raises:
        PermissionError: another user owns the folder, or can write to it.
    """
    about = folder.stat()
    if about.st_uid != os.geteuid():
        raise PermissionError(
            f"{folder} belongs to another user; choose another --state-dir"
        )
    if about.st_mode & _WRITABLE_BY_OTHERS:
        raise PermissionError(
            f"other users can write to {folder}; run `chmod go-w` on it, or choose "
            "another --state-dir"
        )


def require_psycopg() -> None:
    """Check that the driver for PostgreSQL is installed.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    if find_spec("psycopg") is None:
        raise ImportError("PostgreSQL needs: pip install 'ccproxy-server[postgres]'")


class Connections:
    """The connections to a PostgreSQL server; none with SQLite, which has no server."""

    def __init__(self) -> None:
        self._open: WeakSet[Any] = WeakSet()

    def add(self, connection: Any, _: object) -> None:
        """Note a new connection; SQLAlchemy's ``connect`` event calls this."""
        self._open.add(connection)

    def shut_down(self) -> bool:
        """Shut down all sockets, so that calls that wait for the server fail.

        May be called from any thread. PostgreSQL's own time limit for statements would
        not help: a server that is gone cannot enforce it.

        Returns:
            Whether there is a connection.
        """
        connections = list(self._open)
        for connection in connections:
            # The connection may have been closed meanwhile.
            with (
                suppress(Exception),
                socket.socket(fileno=os.dup(connection.fileno())) as own,
            ):
                own.shutdown(socket.SHUT_RDWR)
        return bool(connections)


def open_engines(url: str, owner: str, connections: Connections) -> Engines:
    """Open a database and migrate it; a SQLite file is created if it is missing.

    Args:
        url: SQLAlchemy's URL of the database.
        owner: a unique name of this server; see `ccproxy.store.liveness`.
        connections: collects the connections to PostgreSQL.

    Raises:
        SQLAlchemyError, OSError, ImportError: the database cannot be opened.
        NewerSchema: a newer ccproxy has migrated the database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        make_private(Path(parsed.database or "").parent)
        engine = _sqlite(parsed)
    else:
        require_psycopg()
        engine = create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=_CONNECTIONS,
            hide_parameters=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
        event.listen(engine, "connect", connections.add)
    writing = engine.execution_options(writes=True)
    try:
        with _exclusive(parsed), writing.begin() as connection:
            _migrate(connection)
        liveness: Liveness = (
            FileLock(Path(parsed.database or "").parent / "servers", owner)
            if engine.dialect.name == "sqlite"
            else AdvisoryLock(engine, owner)
        )
    except BaseException:
        engine.dispose()
        raise
    file = None
    if engine.dialect.name == "sqlite":
        path = parsed.database or ""
        file = path, os.stat(path).st_ino
    return Engines(engine, writing, liveness, file)


@contextmanager
def _exclusive(url: URL) -> Iterator[None]:
    """Let one server at a time open a SQLite file.

    If another process uses the file, SQLite's switch to write-ahead logging fails
    instead of waiting. With PostgreSQL, `_migrate` takes a lock.
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
    """The URL of a server's database; None: the settings name none."""
    if database_url is not None:
        return database_url
    return None if state_dir is None else sqlite_url(state_dir / DATABASE_FILE)


def is_locked(error: DBAPIError) -> bool:
    """Whether another process has kept an SQLite file locked for `BUSY_SECONDS`."""
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    url = URL.create("sqlite", database=str(path.absolute()))
    return url.render_as_string()


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    # SQLite gives its companion files the mode of this file.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    for own in (path, *(path.with_name(path.name + end) for end in _COMPANIONS)):
        if own.exists():
            own.chmod(0o600)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    def connected(connection: Any, _: object) -> None:
        # None: the driver begins no transactions by itself. `begun` does it.
        connection.isolation_level = None
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            # Overwrites deleted data.
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    def begun(connection: Connection) -> None:
        # A transaction that begins with BEGIN alone can fail at its first write.
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
    # Imported here because Alembic takes 11 MB of memory and is seldom needed.
    from ccproxy.store.upgrade import upgrade

    upgrade(connection, revision)


def _revision(connection: Connection) -> str | None:
    """Read the schema's revision from Alembic's table, which is created if missing.

    Returns:
        None if the database is empty.
    """
    if not inspect(connection).has_table(versions.name):
        versions.create(connection)
    return connection.execute(select(versions.c.version_num)).scalar()
