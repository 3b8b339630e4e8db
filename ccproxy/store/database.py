"""The database of the store: opened, migrated, and used in its own threads.

The first call opens the database; if that fails, the next call tries again. The
reactor's thread never uses a connection.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ccproxy.core.errors import StorageFailed
from ccproxy.store.engine import Connections, DatabaseReplaced, Engines, open_engines
from ccproxy.store.liveness import Liveness
from ccproxy.store.records import ReferenceDeleted, UnknownItem
from ccproxy.store.shield import shield

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS = 4
# With the time to connect again, a call has its error within ten seconds.
_CALL_SECONDS = 6.0
_CLOSE_SECONDS = 3.0


class Database:
    """Runs functions that take a connection, in transactions, in threads.

    Every method that uses the database raises `StorageFailed` if the database fails. If
    it was removed or replaced, the next call opens it again.

    Attributes:
        has_failed: whether the last call failed; the log has the reason.

    Args:
        url: returns where the database is: ``sqlite:///PATH`` or
            ``postgresql+psycopg://…``.
        owner: this server's name, by which other servers see that it runs.
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
        # SQLite allows one writer at a time; the others would sleep and try again.
        self._writing = Lock()

    def open(self) -> "Deferred[Engines]":
        """Open and migrate the database, unless that is done.

        The caller may cancel; the database is opened all the same.

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

    async def close(self) -> None:
        """Wait for calls under way, then close; a failure to close is logged."""
        self._is_stopped = True
        limit = self._reactor.callLater(_CLOSE_SECONDS, self._give_up)
        while self._under_way:
            await DeferredList(list(self._under_way))
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
        """Run a query; ``args`` and ``options`` follow the connection."""
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
        """Run a change, which is committed whole or not at all."""
        engines = await self.open()

        def work() -> _T:
            with (
                engines.in_use(),
                self._writing,
                engines.writing.begin() as connection,
            ):
                return change(connection, *args, **options)

        return await self._in_thread(work, engines)

    async def liveness(self) -> Liveness:
        """The object that knows which servers run; to be used in a thread."""
        return (await self.open()).liveness

    async def renew_liveness(self) -> None:
        """Make sure that other servers see this server run."""
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
            self._log.error("the database was removed or replaced; it is opened again")
            self._in_thread(engines.abandon).addErrback(
                lambda failure: failure.trap(StorageFailed)
            )

    def _give_up(self) -> None:
        """End the calls that wait for PostgreSQL: it does not answer."""
        if self._connections.shut_down():
            self._log.error("the database does not answer; its connections are closed")

    def _to_error(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, StorageFailed | UnknownItem):
            return failure
        if isinstance(error, ReferenceDeleted):
            return Failure(StorageFailed(str(error)))
        # Drivers raise errors of many classes; callers treat all of them alike.
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
