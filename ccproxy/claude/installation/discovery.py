"""Starts a CLI to learn its models, its login and its version."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.core.errors import CCProxyError

# A discovery takes 0.4 s. Requests that need its result wait at most this long, in case
# the CLI does not answer.
_WAIT_SECONDS = 10.0


class UnlistedModels:
    """Logs each configured model that the CLI does not have, once."""

    _log = Logger()

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warn(self, unlisted: Iterable[str], listed: Iterable[str]) -> None:
        """Log the models of ``unlisted`` that were not logged yet.

        Args:
            unlisted: configured names that the CLI does not have.
            listed: the names that the CLI has.
        """
        for name in unlisted:
            if name not in self._warned:
                self._warned.add(name)
                self._log.warn(
                    "the claude CLI has no model {name!r}, which --model or "
                    "--model-map asks for; it has: {models}",
                    name=name,
                    models=", ".join(listed),
                )


class CLIDiscovery:
    """Runs one discovery at a time; any number of callers may wait for it.

    Attributes:
        error: why the last discovery failed; None: it has not failed.

    Args:
        look: starts a CLI; raises `CCProxyError` if the CLI does not answer.
        clock: for the limit on waiting.
    """

    _log = Logger()

    def __init__(
        self,
        look: Callable[[], Coroutine[Any, Any, InitializeAnswer]],
        clock: IReactorTime,
    ) -> None:
        self.error: CCProxyError | None = None
        self._begin = look
        self._clock = clock
        self._under_way: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """Start a discovery, unless one is running."""
        if self._under_way is not None:
            return
        under_way = Deferred.fromCoroutine(self._look())
        if not under_way.called:
            self._under_way = under_way

    def retry(self) -> None:
        """Start a discovery if the last one has failed."""
        if self.error is not None:
            self.start()

    def probe(self) -> "Deferred[None]":
        """Start a discovery; fires at its end, also after a failure."""
        self.start()
        over: Deferred[None] = Deferred()
        if self._under_way is None:
            over.callback(None)
        else:
            self._waiting.append(over)
        return over

    async def over(self) -> None:
        """Wait for a running discovery, at most `_WAIT_SECONDS`."""
        if self._under_way is None:
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        waiter.addTimeout(_WAIT_SECONDS, self._clock)
        try:
            await waiter
        except DeferredTimeoutError:
            self._waiting.remove(waiter)

    def cancel(self) -> None:
        """Cancel a running discovery."""
        if self._under_way is not None:
            self._under_way.cancel()

    async def _look(self) -> None:
        try:
            answer = await self._begin()
            self.error = None
            self._log.info(
                "claude CLI {version}, {count} models",
                version=answer.claude_code_version or "of unknown version",
                count=len(answer.models),
            )
        except CancelledError:
            pass  # the server stops
        except CCProxyError as error:
            self.error = error
            self._log.warn(
                "the claude CLI cannot be used now: {error}", error=str(error)
            )
        finally:
            self._under_way = None
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)
