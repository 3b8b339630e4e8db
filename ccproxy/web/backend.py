"""What the web room needs of whatever answers: its own side of the seam."""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import Event, Failed, Finished, MessageStart, Usage
from ccproxy.core.usage import RateWindow
from ccproxy.web.answer_stats import AnswerStats


class Question(Protocol):
    """A request that is ready to be asked, as often as it is wanted."""

    @property
    def model(self) -> str:
        """The name that the client's name for the model was resolved to."""

    @property
    def effort(self) -> str | None:
        """How hard the model is told to work; None: its default."""

    @property
    def adjusted(self) -> Sequence[str]:
        """The client's paths of what is sent otherwise than the client wrote it."""

    @property
    def ignored(self) -> Sequence[str]:
        """The client's paths of what is not sent."""

    @property
    def prefix(self) -> str:
        """The hash of what stands before the answer; empty: unknown.

        Thinking that a client is to give back is kept with it.
        """


class Listener(Protocol):
    """The receiver of one answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take events that arrived together; the last of all ends the answer."""


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


class ModelEntry(Protocol):
    """A model that a client may name."""

    @property
    def name(self) -> str:
        """What a client calls it."""

    @property
    def since_seconds(self) -> int:
        """Since when it is known, in Unix time."""


class Status(Protocol):
    """What is known of the CLI."""

    @property
    def answers(self) -> bool:
        """Whether it does, as far as that is known without a question."""

    @property
    def version(self) -> str | None:
        """Of the CLI."""

    @property
    def is_logged_in(self) -> bool:
        """Whether it has a login, as far as it tells."""

    @property
    def login(self) -> str | None:
        """Where the login comes from."""

    @property
    def account(self) -> str | None:
        """Whose it is."""

    @property
    def subscription(self) -> str | None:
        """The kind of it."""

    @property
    def windows(self) -> Sequence[RateWindow]:
        """How much of its limits is used, as far as that was told."""

    @property
    def composer(self) -> str:
        """How it is asked: ``body`` or ``native``."""

    @property
    def why_native(self) -> str:
        """Why it is asked the native way; empty: it is not."""


class Backend(Protocol):
    """What answers questions: the claude room, or a script in the tests."""

    async def prepare(self, request: MessagesRequest, *, owner: str = "") -> Question:
        """Make a request ready to be asked.

        Args:
            request: its ``model`` is the client's name; empty for the configured one.
            owner: the id of the client's key; what is remembered for one owner is
                never used for another.

        Raises:
            CCProxyError: the model does not exist, or the request cannot be asked;
                ``param`` is the client's path.
        """

    def ask(self, question: Question, listener: Listener) -> PendingRequest:
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

    def receive(self, choice: int, events: Sequence[Event]) -> None:
        """Take events of one choice."""

    def encode(self) -> bytes:
        """The document; only without an error, once over."""


@frozen
class _Part:
    """The listener for one of several answers."""

    choice: int
    listen: Callable[[int, Sequence[Event]], None]

    def receive(self, events: Sequence[Event]) -> None:
        self.listen(self.choice, events)


class CompletionGroup:
    """One question, asked as often as the client wants answers.

    The first is asked alone. The others follow when its answer begins: only then can
    they read what it has written to the provider's prompt cache (rule 45).

    Args:
        listen: told the number of the answer, and its events.
        stats: takes what the answers say of their use.
        failed: told of an exception in ``listen``, which is a fault of the proxy's;
            the questions are given up.
    """

    def __init__(
        self,
        listen: Callable[[int, Sequence[Event]], None],
        stats: AnswerStats,
        failed: Callable[[Failure], None],
    ) -> None:
        self._listen = listen
        self._stats = stats
        self._failed = failed
        self._pending: list[PendingRequest] = []
        self._ask_others: Callable[[], None] | None = None
        self._is_paused = False

    def put(self, backend: Backend, question: Question, choices: int = 1) -> None:
        """Ask; what was asked before an exception is kept, to be given up."""

        def ask(choice: int) -> None:
            listener = _Part(choice, self._receive)
            self._pending.append(backend.ask(question, listener))
            if self._is_paused:
                self._pending[-1].pause()

        def ask_others() -> None:
            for choice in range(1, choices):
                ask(choice)

        self._ask_others = ask_others if choices > 1 else None
        ask(0)

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
        for one in pending:
            one.cancel()

    def _receive(self, choice: int, events: Sequence[Event]) -> None:
        self._stats.receive(events)
        try:
            self._listen(choice, events)
            # What was heard may have made the listener cancel the group.
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
    question: Question,
    choices: int,
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

    def listen(choice: int, events: Sequence[Event]) -> None:
        collector.receive(choice, events)
        if collector.is_over and not over.called:
            over.callback(None)

    group = CompletionGroup(listen, stats, over.errback)
    try:
        group.put(backend, question, choices)
        await over
        queued_seconds = group.queued_seconds
    finally:
        group.cancel()
    if collector.error is not None:
        raise collector.error
    return queued_seconds
