"""What the web room needs of whatever answers: its own side of the seam."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.models import ModelEntry
from ccproxy.core.question import Listener, PreparedQuestion
from ccproxy.core.status import Status
from ccproxy.core.stream import Event, Failed, Finished, MessageStart, Receiver, Usage
from ccproxy.web.answer_stats import AnswerStats


class PendingRequest(Protocol):
    """A question that was asked and is not answered yet."""

    @property
    def queued_seconds(self) -> float:
        """How long it has waited for a process."""

    def cancel(self) -> None:
        """Give up; the listener is told nothing more."""

    def pause(self) -> None:
        """Stop the answer from coming."""

    def resume(self) -> None:
        """Let it come."""


class Backend(Protocol):
    """What answers questions: the claude room, or a script in the tests."""

    async def prepare(
        self, request: MessagesRequest, *, owner: str = ""
    ) -> PreparedQuestion:
        """Make a request ready to be asked.

        Args:
            request: its ``model`` is the client's name; empty for the configured one.
            owner: the id of the client's key; what is remembered for one owner is
                never used for another.

        Raises:
            CCProxyError: the model does not exist, or the request cannot be asked;
                ``param`` is the client's path.
        """

    def ask(self, question: PreparedQuestion, listener: Listener) -> PendingRequest:
        """Ask; the listener is never called from within."""

    async def resolve(self, name: str | None) -> str:
        """The model that a client's name means.

        Raises:
            CCProxyError: it means none.
        """

    async def models(self) -> Sequence[ModelEntry]:
        """What a client may ask for."""

    async def status(self) -> Status:
        """Whether the CLI answers, and with which login."""


class Collector(Protocol):
    """A dialect's document in the making."""

    @property
    def is_over(self) -> bool:
        """Whether it is whole, or will never be."""

    @property
    def error(self) -> CCProxyError | None:
        """Why it will never be."""

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""

    @property
    def usage(self) -> Usage:
        """What the answer cost, once it is over."""

    @property
    def receivers(self) -> Sequence[Receiver]:
        """One for the events of each question; most requests ask one."""

    def encode(self) -> bytes:
        """The document; only without an error, once over."""


@frozen
class _Listener:
    """The listener of one question of a group."""

    group: "CompletionGroup"
    receiver: Receiver

    def receive(self, events: Sequence[Event]) -> None:
        self.group.receive(self.receiver, events)


class CompletionGroup:
    """One question, asked once for each receiver; only chat completions have several.

    The first is asked alone. The others follow when its answer begins: only then can
    they read what it has written to the provider's prompt cache (rule 45).

    Args:
        receivers: get the events, each those of one answer.
        stats: takes what the answers say of their use.
        failed: called with an exception of a receiver, which is a fault of the proxy;
            the questions are cancelled.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        stats: AnswerStats,
        failed: Callable[[Failure], None],
    ) -> None:
        self._receivers = receivers
        self._stats = stats
        self._failed = failed
        self._pending: list[PendingRequest] = []
        self._ask_others: Callable[[], None] | None = None
        self._is_paused = False

    def put(self, backend: Backend, question: PreparedQuestion) -> None:
        """Ask; what was asked before an exception is kept, to be cancelled."""
        first, *others = self._receivers

        def ask(receiver: Receiver) -> None:
            self._pending.append(backend.ask(question, _Listener(self, receiver)))
            if self._is_paused:
                self._pending[-1].pause()

        def ask_others() -> None:
            for receiver in others:
                ask(receiver)

        self._ask_others = ask_others if others else None
        ask(first)

    @property
    def queued_seconds(self) -> float:
        """The longest that one of the questions has waited for a process."""
        return max((pending.queued_seconds for pending in self._pending), default=0.0)

    def pause(self) -> None:
        """Stop the answers from coming."""
        self._is_paused = True
        for pending in self._pending:
            pending.pause()

    def resume(self) -> None:
        """Let them come."""
        self._is_paused = False
        for pending in self._pending:
            pending.resume()

    def cancel(self) -> None:
        """Give up; may be called at any time."""
        # They know us by their listeners: without this the whole answer would stay
        # in memory until the collector of cycles finds it.
        pending, self._pending = self._pending, []
        self._ask_others = None
        self._receivers = ()
        for one in pending:
            one.cancel()

    def receive(self, receiver: Receiver, events: Sequence[Event]) -> None:
        """Take events of one answer."""
        self._stats.receive(events)
        try:
            receiver(events)
            # The events may have made the receiver cancel the group.
            if self._ask_others is not None and _has_begun(events):
                ask, self._ask_others = self._ask_others, None
                ask()
        except Exception:  # noqa: BLE001  # whatever it is, the request must end
            self.cancel()
            self._failed(Failure())


def _has_begun(events: Sequence[Event]) -> bool:
    return any(isinstance(e, MessageStart | Finished | Failed) for e in events)


async def collect(
    backend: Backend,
    question: PreparedQuestion,
    collector: Collector,
    stats: AnswerStats,
) -> float:
    """Ask a question and wait until the collector is over.

    Returns how many seconds the question has waited for a process.

    When this is cancelled, because the client went away, or when one answer fails,
    all questions are given up.

    Raises:
        CCProxyError: an answer failed.
    """
    over: Deferred[None] = Deferred()

    def receive(receiver: Receiver, events: Sequence[Event]) -> None:
        receiver(events)
        if collector.is_over and not over.called:
            over.callback(None)

    receivers = [partial(receive, receiver) for receiver in collector.receivers]
    group = CompletionGroup(receivers, stats, over.errback)
    try:
        group.put(backend, question)
        await over
        queued_seconds = group.queued_seconds
    finally:
        group.cancel()
    if collector.error is not None:
        raise collector.error
    return queued_seconds
