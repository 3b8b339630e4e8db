"""The initialization of a CLI: done once, waited for by as many as want."""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.claude.protocol.records import InitializeAnswer


class Initialization:
    """One CLI's initialization.

    Attributes:
        answer: what the CLI said; None: it is not initialized yet.

    Args:
        initialize: does it.
        opened: called when it is done, before all who wait.
        failed: called if it fails; it has to call `fail`.
    """

    def __init__(
        self,
        initialize: Callable[[], Coroutine[Any, Any, InitializeAnswer]],
        opened: Callable[[], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._initialize = initialize
        self._tell_opened = opened
        self._tell_failed = failed
        self._has_begun = False
        self._waiters: list[Deferred[InitializeAnswer]] = []
        self.answer: InitializeAnswer | None = None

    async def wait(self) -> InitializeAnswer:
        """Begin, if nobody has, and wait until it is done.

        Raises:
            CCProxyError: what it failed with.
        """
        if self.answer is not None:
            return self.answer
        waiter: Deferred[InitializeAnswer] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        if not self._has_begun:
            self._has_begun = True
            done = Deferred.fromCoroutine(self._initialize())
            done.addCallbacks(self._opened, self._tell_failed)
        return await waiter

    def fail(self, error: Exception) -> None:
        """Tell all who wait that there is nothing to wait for."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(error)

    def _opened(self, answer: InitializeAnswer) -> None:
        self.answer = answer
        self._tell_opened()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(answer)
