"""What the web room tells whoever counts, or keeps the books."""

from typing import Protocol

from attrs import frozen

from ccproxy.events import Usage


@frozen(kw_only=True)
class RequestEnd:
    """A request that is over, or a response made without one.

    Attributes:
        route: method and path as they are documented; never as they were sent.
        status: of HTTP; 499 where the client hung up, 101 for a turn of a WebSocket.
        finish: why the answer ended: a `FinishReason`, an error's code,
            ``client_gone``; ``none`` where nothing was answered.
        model: the full id of who answered; empty: nobody.
        usage: None: nothing was answered, or it is not known.
        cost_usd: what the CLI has told of its cost; None: nothing.
        key: the id of the key that was sent.
        client: the family of the program that asked.
    """

    route: str
    status: int
    finish: str
    model: str
    usage: Usage | None
    cost_usd: float | None
    seconds: float
    key: str
    client: str


class Observer(Protocol):
    """Whoever counts."""

    def request_ended(self, end: RequestEnd) -> None:
        """A request is over."""

    def stream_opened(self) -> None:
        """A client reads a stream, or has a WebSocket."""

    def stream_closed(self) -> None:
        """It is over."""


@frozen
class Observers:
    """Any number of them as one."""

    observers: tuple[Observer, ...]

    def request_ended(self, end: RequestEnd) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.request_ended(end)

    def stream_opened(self) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.stream_opened()

    def stream_closed(self) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.stream_closed()
