"""What the web room needs of whatever answers: its own side of the seam."""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.accounting import RateWindow
from ccproxy.conversation import Effort, Prompt
from ccproxy.errors import CCProxyError
from ccproxy.events import Event, Usage
from ccproxy.web.receipt import Receipt


class Listener(Protocol):
    """Who is told an answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take events that arrived together; the last of all ends the answer."""


class Ask(Protocol):
    """A question on its way."""

    @property
    def queued_seconds(self) -> float:
        """How long it has waited until somebody was there to answer."""

    def cancel(self) -> None:
        """Give up; the listener hears nothing more."""

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
    """What is known of whoever answers."""

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


class Backend(Protocol):
    """Whatever answers."""

    def ask(self, prompt: Prompt, listener: Listener) -> Ask:
        """Put a question; the listener is never called from within."""

    async def resolve(self, name: str | None) -> str:
        """The model a name means; raises `CCProxyError` for none."""

    async def effort(self, model: str, wanted: Effort) -> Effort | None:
        """The effort nearest to the wanted one that a model knows, if it knows any."""

    async def models(self) -> Sequence[ModelEntry]:
        """What a client may ask for."""

    async def status(self) -> Status:
        """Whether it answers, and as whom."""


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


class Asks:
    """One question, put several times.

    Args:
        listen: told which answer it hears.
        receipt: what they say of their use is noted there.
        failed: told of a fault in ``listen``, which is ours and not the answer's;
            the questions are given up.
    """

    def __init__(
        self,
        listen: Callable[[int, Sequence[Event]], None],
        receipt: Receipt,
        failed: Callable[[Failure], None],
    ) -> None:
        self._listen = listen
        self._receipt = receipt
        self._failed = failed
        self._asks: list[Ask] = []

    def put(self, backend: Backend, prompt: Prompt, choices: int) -> None:
        """Ask; what was asked before a fault is kept, to be given up."""
        for choice in range(choices):
            self._asks.append(backend.ask(prompt, _Part(choice, self._receive)))

    @property
    def queued_seconds(self) -> float:
        """How long the question has waited until somebody was there to answer."""
        return max((ask.queued_seconds for ask in self._asks), default=0.0)

    def pause(self) -> None:
        """Stop the answers from coming."""
        for ask in self._asks:
            ask.pause()

    def resume(self) -> None:
        """Let them come."""
        for ask in self._asks:
            ask.resume()

    def cancel(self) -> None:
        """Give up; may be called at any time."""
        # They know us by their listeners: without this the whole answer would stay
        # in memory until the collector of cycles finds it.
        asks, self._asks = self._asks, []
        for ask in asks:
            ask.cancel()

    def _receive(self, choice: int, events: Sequence[Event]) -> None:
        self._receipt.receive(events)
        try:
            self._listen(choice, events)
        except Exception:  # noqa: BLE001  # whatever it is, the request must end
            self.cancel()
            self._failed(Failure())


async def prepare(backend: Backend, prompt: Prompt) -> Prompt:
    """The prompt for the model that its name means, with an effort that it knows.

    Raises:
        CCProxyError: it means none.
    """
    model = await backend.resolve(prompt.model)
    effort = prompt.effort
    if effort is not None:
        effort = await backend.effort(model, effort)
    return evolve(prompt, model=model, effort=effort)


async def collect(
    backend: Backend,
    prompt: Prompt,
    choices: int,
    collector: Collector,
    receipt: Receipt,
) -> float:
    """Put a question and wait until the collector is over.

    Returns how many seconds it has waited until somebody was there to answer.

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

    asks = Asks(listen, receipt, over.errback)
    try:
        asks.put(backend, prompt, choices)
        await over
        queued_seconds = asks.queued_seconds
    finally:
        asks.cancel()
    if collector.error is not None:
        raise collector.error
    return queued_seconds
