"""The initialization of a CLI: done once, awaited by any number of callers."""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.claude.protocol.records import InitializeAnswer


class Initialization:
    """One CLI's initialization.

    Attributes:
        answer: the CLI's answer; None: it is not initialized yet.

    Args:
        initialize: initializes the CLI.
        opened: called when that is done, before the callers of `wait` go on.
        failed: called if that fails; it has to call `fail`.
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
        self._error: Exception | None = None
        self.answer: InitializeAnswer | None = None

    async def wait(self) -> InitializeAnswer:
        """Begin if it has not begun, and wait until it is done.

        Raises:
            CCProxyError: the initialization failed.
        """
        if self.answer is not None:
            return self.answer
        if self._error is not None:
            raise self._error
        waiter: Deferred[InitializeAnswer] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        if not self._has_begun:
            self._has_begun = True
            done = Deferred.fromCoroutine(self._initialize())
            done.addCallbacks(self._opened, self._tell_failed)
        return await waiter

    def fail(self, error: Exception) -> None:
        """Fail all callers of `wait`, later ones too."""
        self._error = error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(error)

    def _opened(self, answer: InitializeAnswer) -> None:
        self.answer = answer
        self._tell_opened()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(answer)
