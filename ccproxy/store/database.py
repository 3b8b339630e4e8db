"""Opens the store's database and runs queries in threads.

The first call opens and migrates the database. If this fails, the next call tries
again. The reactor's thread never uses a connection.
"""

from collections.abc import Callable
from sqlite3 import OperationalError
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ccproxy.core.errors import StorageFailed
from ccproxy.store.engine import (
    Connections,
    DatabaseReplaced,
    Engines,
    is_locked,
    open_engines,
)
from ccproxy.store.liveness import Liveness
from ccproxy.store.records import ReferenceDeleted, TooLarge, UnknownItem

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS = 4
# With this limit and the time for a new connection, a call fails within ten seconds.
_CALL_SECONDS = 6.0
_CLOSE_SECONDS = 3.0
_LOCKED = "another process has locked the database"


class Database:
    """Runs queries in threads, each in a transaction.

    A query is a function whose first argument is a connection. Every method that uses
    the database raises `StorageFailed` if the database fails. If the database was
    removed or replaced, the next call opens it again.

    Attributes:
        has_failed: whether the last call failed; the log has the reason.

    Args:
        url: returns the database's URL: ``sqlite:///PATH`` or
            ``postgresql+psycopg://…``.
        owner: a unique name of this server; see `ccproxy.store.liveness`.
    """

    _log = Logger()

    def __init__(self, url: Callable[[], str], owner: str, reactor: Any) -> None:
        self.owner = owner
        self.has_failed = False
        self._url = url
        self._reactor = reactor
        self._is_stopped = False
        self._pool: ThreadPool | None = None
        self._opening = DeferredLock()
        self._connections = Connections()
        self._engines: Engines | None = None
        self._under_way: set[Deferred[Any]] = set()
        # SQLite allows one writer at a time. Without this lock, the other writers would
        # sleep and try again.
        self._writing = Lock()
        # The number of writers that gave up, because another process held the lock.
        self._lock_failures = 0

    def open(self) -> "Deferred[Engines]":
        """Open and migrate the database, if it is not open yet.

        On cancel, the database is opened nevertheless.

        Raises:
            StorageFailed: the log has the reason.
        """
        return shield(Deferred.fromCoroutine(self._open()))

    async def _open(self) -> Engines:
        await self._opening.acquire()
        try:
            if self._is_stopped:
                raise StorageFailed("the proxy is being stopped")
            if self._engines is None:
                self._engines = await self._in_thread(
                    lambda: open_engines(self._url(), self.owner, self._connections),
                    # A migration may take long.
                    is_limited=False,
                )
            return self._engines
        finally:
            self._opening.release()

    async def settle(self) -> None:
        """Wait for running calls, and for calls that begin meanwhile."""
        limit = self._reactor.callLater(_CLOSE_SECONDS, self._give_up)
        while self._under_way:
            await DeferredList(list(self._under_way))
        if limit.active():
            limit.cancel()

    async def close(self) -> None:
        """Wait for running calls, then close; a failure to close is logged."""
        self._is_stopped = True
        await self.settle()
        limit = self._reactor.callLater(_CLOSE_SECONDS, self._give_up)
        try:
            if self._engines is not None:
                engines, self._engines = self._engines, None
                await self._in_thread(engines.close)
        except StorageFailed:
            # No data is lost: every write was committed.
            self._log.warn("the database could not be closed properly")
        finally:
            if limit.active():
                limit.cancel()
            if self._pool is not None:
                pool, self._pool = self._pool, None
                pool.stop()

    async def read(
        self,
        query: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Run ``query(connection, *args, **options)`` in a transaction."""
        return await self._read(lambda opened: query(opened, *args, **options))

    async def read_slowly(self, query: Callable[[Connection], _T]) -> _T:
        """Run a query that may take long, without a time limit."""
        return await self._read(query, is_limited=False)

    async def _read(
        self, query: Callable[[Connection], _T], *, is_limited: bool = True
    ) -> _T:
        engines = await self.open()

        def work() -> _T:
            with engines.in_use(), engines.reading.begin() as connection:
                return query(connection)

        return await self._in_thread(work, engines, is_limited=is_limited)

    async def write(
        self,
        change: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Run ``change(connection, *args, **options)`` in a transaction that writes."""
        engines = await self.open()
        lock_failures = self._lock_failures

        def work() -> _T:
            with engines.in_use(), self._writing:
                if self._lock_failures != lock_failures:
                    # Since this call began, another writer has waited for the lock of
                    # another process until its time limit. Without this check, each
                    # waiting writer would wait as long, one after the other.
                    raise OperationalError(_LOCKED)
                try:
                    with engines.writing.begin() as connection:
                        return change(connection, *args, **options)
                except DBAPIError as error:
                    self._lock_failures += is_locked(error)
                    raise

        return await self._in_thread(work, engines)

    async def liveness(self) -> Liveness:
        """The object that knows which servers run; use it in a thread only."""
        return (await self.open()).liveness

    async def renew_liveness(self) -> None:
        """Take this server's lock again if it was lost; see `Liveness`."""
        engines = await self.open()

        def work() -> None:
            with engines.in_use():
                engines.liveness.renew()

        await self._in_thread(work, engines)

    async def vacuum(self) -> None:
        """Return unused space to the disk."""
        engines = await self.open()

        def work() -> None:
            with self._writing:
                engines.vacuum()

        await self._in_thread(work)

    def _in_thread(
        self,
        work: Callable[[], _T],
        engines: Engines | None = None,
        *,
        is_limited: bool = True,
    ) -> "Deferred[_T]":
        if self._pool is None:
            self._pool = ThreadPool(0, _THREADS, "ccproxy-store")
            self._pool.start()
        done = deferToThreadPool(self._reactor, self._pool, work)
        self._under_way.add(done)
        limit = is_limited and self._reactor.callLater(_CALL_SECONDS, self._give_up)

        def ended(result: Any) -> Any:
            if limit and limit.active():
                limit.cancel()
            self._under_way.discard(done)
            if not isinstance(result, Failure):
                self.has_failed = False
                return result
            if engines is not None and result.check(DatabaseReplaced):
                self._abandon(engines)
            return self._to_error(result)

        return shield(done.addBoth(ended))

    def _abandon(self, engines: Engines) -> None:
        if self._engines is engines:
            self._engines = None
            self._log.error(
                "the database was removed or replaced; the next call opens it again"
            )
            self._in_thread(engines.abandon).addErrback(
                lambda failure: failure.trap(StorageFailed)
            )

    def _give_up(self) -> None:
        """Make all calls that wait for PostgreSQL fail."""
        if self._connections.shut_down():
            self._log.error("the database does not answer; its connections are closed")

    def _to_error(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, StorageFailed | TooLarge | UnknownItem):
            return failure
        if isinstance(error, ReferenceDeleted):
            return Failure(StorageFailed(str(error)))
        # Drivers raise errors of many classes. Callers treat all of them alike.
        self.has_failed = True
        self._log.error("the database failed: {reason}", reason=_reason(error))
        return Failure(
            StorageFailed(
                "the proxy's database failed, see the proxy's log; a request with "
                "`store: false` needs no database"
            )
        )


def _reason(error: BaseException | None) -> str:
    """The driver's message in one line, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"


def shield(work: "Deferred[_T]") -> "Deferred[_T]":
    """Make a Deferred with the outcome of ``work``; its cancel does not reach ``work``.

    Klein cancels the coroutine of a route when its client disconnects. The coroutine
    then cancels the Deferred that it waits for, such as the opening of the database,
    which other requests need.

    After a cancel, the outcome of ``work`` is dropped. The caller has to make sure that
    a failure of ``work`` is logged.
    """
    outcome: Deferred[_T] = Deferred()

    def forward(result: Any) -> None:
        if not outcome.called:
            outcome.callback(result)

    work.addBoth(forward)
    return outcome
