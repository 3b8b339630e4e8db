"""What the web room needs of whatever answers: its own side of the seam."""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError
from ccproxy.events import Event, Usage


class Listener(Protocol):
    """Who is told an answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take events that arrived together; the last of all ends the answer."""


class Ask(Protocol):
    """A question on its way."""

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


class Backend(Protocol):
    """Whatever answers."""

    def ask(self, prompt: Prompt, listener: Listener) -> Ask:
        """Put a question; the listener is never called from within."""

    async def resolve(self, name: str | None) -> str:
        """The model a name means; raises `CCProxyError` for none."""

    async def models(self) -> Sequence[ModelEntry]:
        """What a client may ask for."""


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


def ask_all(
    backend: Backend,
    prompt: Prompt,
    choices: int,
    listen: Callable[[int, Sequence[Event]], None],
) -> list[Ask]:
    """Put one question several times; the listener is told which answer it hears."""
    return [backend.ask(prompt, _Part(n, listen)) for n in range(choices)]


async def collect(
    backend: Backend, prompt: Prompt, choices: int, collector: Collector
) -> None:
    """Put a question and wait until the collector is over.

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

    asks = ask_all(backend, prompt, choices, listen)
    try:
        await over
    finally:
        for ask in asks:
            ask.cancel()
    if collector.error is not None:
        raise collector.error
