"""Starts a CLI to learn its models, its login and its version."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.protocol.records import InitializeAnswer
from ccproxy.core.errors import Cause, CCProxyError

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
        answer: the CLI's last answer to an initialization; None: no answer yet.
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
        self.answer: InitializeAnswer | None = None
        self.error: CCProxyError | None = None
        self._binary: BinaryID | None = None
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

    def learn(self, answer: InitializeAnswer, binary: BinaryID | None) -> None:
        """Keep an answer to an initialization, and the binary that has sent it."""
        self.answer, self._binary = answer, binary

    def knows(self, binary: BinaryID | None) -> bool:
        """Whether the last answer came from a process of this binary."""
        return self.answer is not None and self._binary == binary

    def retry(self) -> None:
        """Start a discovery if the last one has failed."""
        if self.error is not None:
            self.start()

    async def why_unknown(self, binary: BinaryID | None) -> str:
        """Why no process of a binary has answered; empty: a process has answered.

        Runs a discovery if no answer is known.
        """
        if not self.knows(binary):
            # The CLI may have been installed or replaced since the last discovery.
            self.start()
        await self.over()
        if self.knows(binary):
            return ""
        if self.error is None:
            return "it has not answered yet"
        is_busy = self.error.cause is Cause.NO_PROCESS_SLOT
        # Processes of an older binary have all slots. They still answer requests.
        return "" if is_busy and self.answer is not None else self.error.message

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
