"""Processes large data in a thread, so that the reactor is not blocked."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread

from ccproxy.core.backend import LARGE_BYTES
from ccproxy.core.errors import InvalidRequest

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LargeWork:
    """Runs functions in a thread, one at a time.

    More threads would not be faster: they share the interpreter with the reactor.
    """

    def __init__(self) -> None:
        self._lock = DeferredLock()

    async def run(
        self,
        size_bytes: int,
        work: Callable[_P, _T],
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T:
        """Call a function: in a thread if its data is large, otherwise at once.

        Args:
            size_bytes: the size of the data.
            work: a pure function.
            args: the arguments of the function.
            options: the keyword arguments of the function.

        Raises:
            InvalidRequest: the data is nested too deeply for Python.
        """

        def begin() -> Deferred[_T]:
            return deferToThread(work, *args, **options)

        try:
            if size_bytes <= LARGE_BYTES:
                return work(*args, **options)
            return await self._lock.run(begin)
        except RecursionError:
            # Several functions call themselves once for each level of nested JSON.
            raise InvalidRequest("the body is nested too deeply") from None
