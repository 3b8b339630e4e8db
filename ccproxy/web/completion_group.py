"""Sends a prepared request to the backend, and waits for its answers.

Event streams, documents, WebSockets and background responses all use `CompletionGroup`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from ccproxy.core.backend import Backend, PendingRequest, PreparedQuestion
from ccproxy.core.stream import Event, Failed, Finished, MessageStart, Receiver
from ccproxy.web.context import AnswerResult, RequestContext
from ccproxy.web.observer import AnswerStats, AnswerUsage
from ccproxy.web.replies import ADJUSTED, IGNORED, add_paths, set_queue_header

# The most requests of a group that run at one time.
_MOST_AT_ONCE = 8


@frozen
class _Listener:
    """The listener of one answer of a group."""

    group: "CompletionGroup"
    receiver: Receiver
    usage: AnswerUsage

    def receive(self, events: Sequence[Event]) -> None:
        self.group.receive(self.receiver, events, self.usage)


class CompletionGroup:
    """The answers to one client's request; only chat completions can have several.

    The request is sent to the backend once for each receiver. The first request is sent
    alone. The others are sent when the first answer begins, because the provider has
    then written its prompt cache, and the others can read it (rule 45 of
    docs/messages-api-rules.md). At most 8 run at one time, so that one client's request
    does not fill the queue.

    Args:
        receivers: each is called with the events of one answer.
        is_over: whether no more events are needed; called after every receiver call.
        stats: records model, usage, cost and times of the answers.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        is_over: Callable[[], bool],
        stats: AnswerStats,
    ) -> None:
        self._receivers = receivers
        self._is_over = is_over
        self._stats = stats
        self._over: Deferred[None] = Deferred()
        self._pending: list[PendingRequest] = []
        # The receivers whose requests are not sent yet, and the function to send them.
        self._left: list[Receiver] = []
        self._ask: Callable[[Receiver], None] = _nothing
        self._unanswered = 0
        self._is_paused = False
        self._queued_seconds = 0.0
        self._adjusted: tuple[str, ...] = ()
        self._ignored: tuple[str, ...] = ()

    async def run(self, backend: Backend, question: PreparedQuestion) -> None:
        """Send the requests; wait until ``is_over`` is true or `finish` is called.

        Requests that still run at the end are cancelled. An exception that a receiver
        raises is raised here.
        """
        try:
            self._begin(backend, question)
            await self._over
        finally:
            self.cancel()

    @property
    def queued_seconds(self) -> float:
        """The longest time that one of the requests waited for a CLI process."""
        waited = (pending.queued_seconds for pending in self._pending)
        return max((self._queued_seconds, *waited))

    @property
    def adjusted(self) -> Sequence[str]:
        """The fields of `PendingRequest.adjusted` of all requests."""
        found = (path for pending in self._pending for path in pending.adjusted)
        return tuple(dict.fromkeys((*self._adjusted, *found)))

    @property
    def ignored(self) -> Sequence[str]:
        """The fields of `PendingRequest.ignored` of all requests."""
        found = (path for pending in self._pending for path in pending.ignored)
        return tuple(dict.fromkeys((*self._ignored, *found)))

    def pause(self) -> None:
        """Pause the answers."""
        self._is_paused = True
        for pending in self._pending:
            pending.pause()

    def resume(self) -> None:
        """Resume the answers."""
        self._is_paused = False
        for pending in self._pending:
            pending.resume()

    def set_headers(self, request: Request) -> None:
        """Set the headers for the queue time, and for fields that were changed late."""
        set_queue_header(request, self.queued_seconds)
        add_paths(request, IGNORED, self.ignored)
        add_paths(request, ADJUSTED, self.adjusted)

    def finish(self) -> None:
        """End `run`; may be called at any time."""
        if not self._over.called:
            self._over.callback(None)

    def cancel(self) -> None:
        """Cancel the requests; may be called at any time. `run` continues to wait."""
        self._queued_seconds = self.queued_seconds
        self._adjusted, self._ignored = tuple(self.adjusted), tuple(self.ignored)
        # The group, its requests and their listeners form a reference cycle, which
        # would keep the answer in memory until Python's garbage collector runs.
        pending, self._pending = self._pending, []
        self._left, self._ask = [], _nothing
        self._receivers = ()
        for one in pending:
            one.cancel()

    def receive(
        self, receiver: Receiver, events: Sequence[Event], usage: AnswerUsage
    ) -> None:
        """Pass events of one answer to its receiver."""
        if self._over.called:
            return
        usage.receive(events)
        if self._stats.began_seconds is None or isinstance(events[-1], Finished):
            self._stats.receive(events)
        try:
            receiver(events)
            if self._is_over():
                self.finish()
            elif self._left:
                self._unanswered -= _has_ended(events)
                if _has_begun(events):
                    self._ask_more()
        except Exception:  # noqa: BLE001  # whatever it is, the request must end
            self.cancel()
            if not self._over.called:
                self._over.errback(Failure())

    def _begin(self, backend: Backend, question: PreparedQuestion) -> None:
        first, *self._left = self._receivers
        self._stats.conversation = question.conversation

        def ask(receiver: Receiver) -> None:
            self._unanswered += 1
            listener = _Listener(self, receiver, self._stats.new_usage())
            self._pending.append(backend.ask(question, listener))
            if self._is_paused:
                self._pending[-1].pause()

        self._ask = ask
        ask(first)

    def _ask_more(self) -> None:
        while self._left and self._unanswered < _MOST_AT_ONCE:
            self._ask(self._left.pop(0))


def _nothing(_: Receiver) -> None:
    """Send nothing: the group has not begun, or is over."""


def _has_begun(events: Sequence[Event]) -> bool:
    return any(isinstance(e, MessageStart | Finished | Failed) for e in events)


def _has_ended(events: Sequence[Event]) -> bool:
    return any(isinstance(e, Finished | Failed) for e in events)


class Collector(AnswerResult, Protocol):
    """Collects the answers to a request for a document of one API."""

    @property
    def receivers(self) -> Sequence[Receiver]:
        """One receiver for each answer; most requests have one answer."""


async def collect(
    context: RequestContext,
    question: PreparedQuestion,
    collector: Collector,
) -> None:
    """Send a request, and wait until its answers are complete.

    All answers are cancelled if one of them fails, or if this coroutine is cancelled
    because the client has disconnected.

    Raises:
        CCProxyError: an answer failed.
    """
    group = CompletionGroup(
        collector.receivers, lambda: collector.is_over, context.stats
    )
    with context.following(collector):
        await group.run(context.services.backend, question)
    if collector.error is not None:
        raise collector.error
    group.set_headers(context.request)
