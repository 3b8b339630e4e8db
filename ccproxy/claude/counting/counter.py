"""Counts tokens with the workers' help, and remembers the counts.

A count waits in the pool's queue like any request, and occupies a worker for some tens
of milliseconds. If the provider does not count, the result is an estimate.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from typing_extensions import override

from ccproxy.claude.body.reading import distinct_system_prompt
from ccproxy.claude.counting.countable import Countable, countable
from ccproxy.claude.observer import ClaudeObserver, Served
from ccproxy.claude.pool.pool import Pool
from ccproxy.claude.pool.requests import AnswerState, PoolClient
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.backend import LARGE_BYTES, TokenCount
from ccproxy.core.errors import CCProxyError, ClaudeFailed
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import Event, Failed

_MOST_COUNTS = 10_000


class PendingCount(PoolClient):
    """A text whose tokens are being counted.

    Attributes:
        outcome: fires with the provider's count, or None if there is none; fails with
            the `CCProxyError` of a request that got no worker. Its ``cancel`` ends the
            count.
    """

    is_count = True

    def __init__(
        self,
        text: str,
        model: str,
        pool: Pool,
        clock: IReactorTime,
        observer: ClaudeObserver,
    ) -> None:
        super().__init__(self, clock, observer)
        self._text = text
        self._for_model = model
        self._pool = pool
        self.outcome: Deferred[int | None] = Deferred(lambda _: self.cancel())

    @property
    @override
    def system(self) -> str:
        """The text, which becomes the system prompt of the worker."""
        return self._text

    @override
    def start(self, worker: Worker, served: Served) -> None:
        """Let a worker count."""
        self._begin(worker, served)
        counting = Deferred.fromCoroutine(worker.count(self._text, self._for_model))
        counting.addCallbacks(self._counted, self._not_counted)

    def receive(self, events: Sequence[Event]) -> None:
        """Take the error of a request that got no worker."""
        for event in events:
            if isinstance(event, Failed):
                self.outcome.errback(event.error)

    def _counted(self, tokens: int | None) -> None:
        if self._state is AnswerState.RUNNING:
            self._leave()
            self.outcome.callback(tokens)

    def _not_counted(self, failure: Failure) -> None:
        failure.trap(CCProxyError)
        if self._state is not AnswerState.RUNNING:
            return
        is_lost = isinstance(failure.value, ClaudeFailed)
        self._leave(is_lost=is_lost)
        if is_lost:
            # The provider may not answer; another worker would wait for it, too.
            self.outcome.callback(None)
        else:
            self.outcome.errback(failure)

    @override
    def _leave(self, *, is_lost: bool = False) -> None:
        self._end()
        self._pool.finished(self, self._take_process(), is_lost=is_lost)


class TokenCounter:
    """Counts the tokens of requests, and remembers the counts of the provider.

    Args:
        pool: hands out workers.
        clock: for time limits.
        observer: counts requests.
    """

    def __init__(
        self, pool: Pool, clock: IReactorTime, observer: ClaudeObserver
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._observer = observer
        self._known: OrderedDict[bytes, int] = OrderedDict()

    async def count(
        self, request: MessagesRequest, model: str, owner: str, *, uses_cli: bool
    ) -> TokenCount:
        """Count a request's tokens.

        Args:
            request: the request.
            model: the model's name for the CLI.
            owner: the id of the client's key; counts of one owner are not used for
                another.
            uses_cli: whether there are workers; otherwise the count is an estimate.

        Raises:
            CCProxyError: the request is invalid, or got no worker.
        """
        counted = await self._read(request)
        if not counted.text or not uses_cli:
            return _estimated(counted)
        # A text that the CLI would take for its own is changed; its count is not exact.
        text = distinct_system_prompt(counted.text)
        key = blake2b(f"{owner}\0{model}\0{text}".encode()).digest()
        tokens = self._known.get(key)
        if tokens is None:
            tokens = await self._ask(text, model)
            if tokens is None:
                return _estimated(counted)
        self._known[key] = tokens
        self._known.move_to_end(key)
        if len(self._known) > _MOST_COUNTS:
            self._known.popitem(last=False)
        is_exact = counted.is_whole and text == counted.text
        return TokenCount(tokens=tokens + counted.extra, is_exact=is_exact)

    async def _read(self, request: MessagesRequest) -> Countable:
        if request.size_bytes <= LARGE_BYTES:
            return countable(request)
        found: Countable = await deferToThread(countable, request)
        return found

    async def _ask(self, text: str, model: str) -> int | None:
        pending = PendingCount(text, model, self._pool, self._clock, self._observer)
        self._pool.submit(pending)
        return await pending.outcome


def _estimated(counted: Countable) -> TokenCount:
    return TokenCount(tokens=counted.estimate, is_exact=False)
