"""The database behind the store: opened, migrated, and asked in threads of its own.

It is opened by the first call; if that fails, the next one tries again. The reactor's
thread never touches a connection.
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

from ccproxy.core.detached import detached
from ccproxy.core.errors import StorageFailed
from ccproxy.store.engine import Engines, Liveness, open_engine
from ccproxy.store.records import UnknownItem, Vanished

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS = 4


class Database:
    """Runs functions of a connection in transactions, in threads.

    Args:
        url: tells where it is: ``sqlite:///PATH`` or ``postgresql+psycopg://…``.
        owner: this server's name, which it is known to be alive by.
    """

    _log = Logger()

    def __init__(self, url: Callable[[], str], owner: str, reactor: Any) -> None:
        self._url = url
        self._owner = owner
        self._reactor = reactor
        self._is_stopped = False
        self._pool: ThreadPool | None = None
        self._opening = DeferredLock()
        self._opened: Engines | None = None
        self._under_way: set[Deferred[Any]] = set()
        # SQLite lets one write at a time and has the others sleep and try again.
        self._writing = Lock()

    def open(self) -> "Deferred[Engines]":
        """Open and migrate, unless that is done.

        Whoever waits may go away; what is being opened will be open all the same.

        Raises:
            StorageFailed: the log says why.
        """
        return detached(Deferred.fromCoroutine(self._open()))

    async def _open(self) -> Engines:
        await self._opening.acquire()
        try:
            if self._is_stopped:
                raise StorageFailed("the proxy is being stopped")
            if self._opened is None:
                self._opened = await self._in_thread(
                    lambda: open_engine(self._url(), self._owner)
                )
            return self._opened
        finally:
            self._opening.release()

    async def close(self) -> None:
        """Wait for what is under way, and close; what fails then is logged."""
        self._is_stopped = True
        while self._under_way:
            await DeferredList(list(self._under_way))
        try:
            if self._opened is not None:
                opened, self._opened = self._opened, None
                await self._in_thread(opened.close)
        except StorageFailed:
            # Nothing is lost by it: what was kept is kept.
            self._log.warn("the database could not be closed as it should be")
        finally:
            if self._pool is not None:
                pool, self._pool = self._pool, None
                pool.stop()

    async def read(
        self,
        query: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Ask; raises `StorageFailed`."""
        opened = await self.open()

        def work() -> _T:
            with opened.reading.begin() as connection:
                return query(connection, *args, **options)

        return await self._in_thread(work)

    async def write(
        self,
        change: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Change everything or nothing; raises `StorageFailed`."""
        opened = await self.open()

        def work() -> _T:
            with self._writing, opened.writing.begin() as connection:
                return change(connection, *args, **options)

        return await self._in_thread(work)

    async def presence(self) -> Liveness:
        """Who is alive, this server included; to be asked in a thread."""
        return (await self.open()).presence

    async def keep_presence(self) -> None:
        """See to it that other servers find this one alive."""
        await self._in_thread((await self.open()).presence.keep)

    async def tidy(self) -> None:
        """Give room that is not needed back to the disk."""
        opened = await self.open()

        def work() -> None:
            with self._writing:
                opened.tidy()

        await self._in_thread(work)

    def _in_thread(self, work: Callable[[], _T]) -> "Deferred[_T]":
        if self._pool is None:
            self._pool = ThreadPool(0, _THREADS, "ccproxy-store")
            self._pool.start()
        done = deferToThreadPool(self._reactor, self._pool, work)
        self._under_way.add(done)

        def ended(result: Any) -> Any:
            self._under_way.discard(done)
            return self._translated(result) if isinstance(result, Failure) else result

        return detached(done.addBoth(ended))

    def _translated(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, StorageFailed | UnknownItem):
            return failure
        if isinstance(error, Vanished):
            return Failure(StorageFailed(str(error)))
        # Drivers raise what they like; nobody here can do anything else about it.
        self._log.error("the database failed: {reason}", reason=_reason(error))
        return Failure(
            StorageFailed(
                "the proxy's database failed, its log says why; with `store: false` "
                "nothing has to be kept"
            )
        )


def _reason(error: BaseException | None) -> str:
    """One line, without the statement or what was in it."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
