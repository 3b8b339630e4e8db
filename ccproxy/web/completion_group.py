"""Asks a question and waits for its answers: the only place that does so.

Event streams, documents, WebSockets and background responses differ in what they do
with the events of an answer, and in when they have enough.
"""

from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.core.backend import (
    Backend,
    PendingRequest,
    PreparedQuestion,
)
from ccproxy.core.stream import Event, Failed, Finished, MessageStart, Receiver
from ccproxy.web.observer import AnswerStats


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
        is_over: whether no more events are needed; asked after each receiver's call.
        stats: gets usage and times of the answers.
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
        self._ask_others: Callable[[], None] | None = None
        self._is_paused = False
        self._queued_seconds = 0.0

    async def run(self, backend: Backend, question: PreparedQuestion) -> None:
        """Ask, and wait until `is_over`, or `finish`.

        However this ends, the questions are cancelled then. An exception of a receiver
        is raised here.
        """
        try:
            self._ask(backend, question)
            await self._over
        finally:
            self.cancel()

    @property
    def queued_seconds(self) -> float:
        """The longest time that one of the questions has waited for a process."""
        waited = (pending.queued_seconds for pending in self._pending)
        return max((self._queued_seconds, *waited))

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

    def finish(self) -> None:
        """End `run`; may be called at any time."""
        if not self._over.called:
            self._over.callback(None)

    def cancel(self) -> None:
        """Cancel the questions; may be called at any time. `run` goes on to wait."""
        self._queued_seconds = self.queued_seconds
        # A question holds its listener, which holds the group: without this the whole
        # answer would stay in memory until Python looks for reference cycles.
        pending, self._pending = self._pending, []
        self._ask_others = None
        self._receivers = ()
        for one in pending:
            one.cancel()

    def receive(self, receiver: Receiver, events: Sequence[Event]) -> None:
        """Take events of one answer."""
        if self._over.called:
            return
        self._stats.receive(events)
        try:
            receiver(events)
            if self._is_over():
                self.finish()
            elif self._ask_others is not None and _has_begun(events):
                ask, self._ask_others = self._ask_others, None
                ask()
        except Exception:  # noqa: BLE001  # whatever it is, the request must end
            self.cancel()
            if not self._over.called:
                self._over.errback(Failure())

    def _ask(self, backend: Backend, question: PreparedQuestion) -> None:
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


def _has_begun(events: Sequence[Event]) -> bool:
    return any(isinstance(e, MessageStart | Finished | Failed) for e in events)
