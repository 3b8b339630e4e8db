"""Finds out which servers of a database are running: each of them holds a lock.

A killed server cannot report its end. But the kernel releases its file locks, and
PostgreSQL releases the locks of its connection. So no server has to send heartbeats.
"""

import fcntl
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError


class Liveness(Protocol):
    """This server's lock, and the check of other servers' locks."""

    def is_alive(self, connection: Connection, owner: str) -> bool:
        """Whether the server with the name ``owner`` is running."""

    def renew(self) -> None:
        """Take this server's lock again if it was lost."""

    def close(self) -> None:
        """Release this server's lock."""


class FileLock:
    """Liveness by file locks, for the servers of a SQLite file on one machine."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder = folder
        self._owner = owner
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / owner
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_alive(self, connection: Connection, owner: str) -> bool:
        """Whether the server with the name ``owner`` is running."""
        if owner == self._owner:
            return True
        path = self._folder / owner
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        with suppress(FileNotFoundError):
            path.unlink()
        return False

    def renew(self) -> None:
        """Do nothing: a file lock is never lost while the process runs."""

    def close(self) -> None:
        """Release this server's lock."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._handle)


class AdvisoryLock:
    """Liveness by advisory locks, for the servers of a PostgreSQL database."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._connection: Connection | None = self._lock()

    def is_alive(self, connection: Connection, owner: str) -> bool:
        """Whether the server with the name ``owner`` is running."""
        if owner == self._owner:
            return True
        # If the server is dead, this takes its lock until the end of the transaction.
        lock = text("SELECT pg_try_advisory_xact_lock(:key)")
        return not connection.execute(lock, {"key": _key(owner)}).scalar_one()

    def renew(self) -> None:
        """Take the lock again if the connection that held it was lost."""
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return
        except SQLAlchemyError:
            self.close()
        self._connection = self._lock()

    def close(self) -> None:
        """Release this server's lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                # PostgreSQL may notice late that the connection is closed.
                unlock = text("SELECT pg_advisory_unlock_shared(:key)")
                connection.execute(unlock, {"key": _key(self._owner)})
            with suppress(SQLAlchemyError):
                # In the pool, the connection would keep the lock.
                connection.invalidate()
                connection.close()

    def _lock(self) -> Connection:
        autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        connection = autocommit.connect()
        # A shared lock, because a lost connection of this server may still hold it.
        lock = text("SELECT pg_advisory_lock_shared(:key)")
        connection.execute(lock, {"key": _key(self._owner)})
        return connection


def _key(owner: str) -> int:
    digest = blake2b(owner.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
