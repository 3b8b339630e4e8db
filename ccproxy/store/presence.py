"""Who is alive: a lock that dies with the process, for each server.

A server that is killed cannot say so; but the kernel lets go of its file locks, and
PostgreSQL of the locks of its connection. So there are no heartbeats to be late.
"""

import fcntl
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError


class FileLock:
    """For servers of one SQLite file, which are on one machine."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder = folder
        self._owner = owner
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / owner
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_alive(self, connection: Connection, owner: str) -> bool:
        """Whether the server of that name runs."""
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

    def keep(self) -> None:
        """Nothing can take it away."""

    def close(self) -> None:
        """Let go."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._handle)


class AdvisoryLock:
    """For servers of one PostgreSQL database."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._connection: Connection | None = self._taken()

    def is_alive(self, connection: Connection, owner: str) -> bool:
        """Whether the server of that name runs."""
        if owner == self._owner:
            return True
        # Until the end of the transaction, if there is nobody to hold it.
        lock = text("SELECT pg_try_advisory_xact_lock(:key)")
        return not connection.execute(lock, {"key": _key(owner)}).scalar_one()

    def keep(self) -> None:
        """Take the lock again if the connection that held it was lost."""
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return
        except SQLAlchemyError:
            self.close()
        self._connection = self._taken()

    def close(self) -> None:
        """Let go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                # The server at the other end may take its time to see that we left.
                unlock = text("SELECT pg_advisory_unlock_shared(:key)")
                connection.execute(unlock, {"key": _key(self._owner)})
            with suppress(SQLAlchemyError):
                # Back in the pool it would hold the lock still.
                connection.invalidate()
                connection.close()

    def _taken(self) -> Connection:
        autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        connection = autocommit.connect()
        # Shared: the server may still hold it for a connection that was lost.
        lock = text("SELECT pg_advisory_lock_shared(:key)")
        connection.execute(lock, {"key": _key(self._owner)})
        return connection


def _key(owner: str) -> int:
    digest = blake2b(owner.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
