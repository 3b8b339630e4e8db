"""What the web room tells whoever counts, or keeps the books."""

from typing import Protocol

from attrs import frozen
from typing_extensions import override

from ccproxy.core.stream import Usage
from ccproxy.web.answer_stats import AnswerStats


@frozen(kw_only=True)
class RequestOutcome:
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
        id: of the request, as the log has it.
        is_quiet: whether the dashboard leaves the request out if it succeeded.
        is_error: whether it failed, also after its status was sent.
        answering_seconds: from the first token to the end; None: there was none.
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
    id: str
    is_error: bool
    answering_seconds: float | None
    is_quiet: bool = False


class UnderWay(Protocol):
    """A request that is under way."""

    @property
    def id(self) -> str:
        """As its answer and the log have it."""

    @property
    def route(self) -> str:
        """Method and path as they are documented."""

    @property
    def is_quiet(self) -> bool:
        """Whether the dashboard leaves it out if it succeeds."""

    @property
    def key(self) -> str:
        """The id of the key that was sent."""

    @property
    def client(self) -> str:
        """The family of the program that asks."""

    @property
    def stats(self) -> AnswerStats:
        """What its answers say of themselves."""


class RequestObserver:
    """Told of every request. A subclass overrides what it needs."""

    def request_began(self, request: UnderWay) -> None:
        """A request has reached its route."""

    def request_left(self, request: UnderWay) -> None:
        """A request that has begun is over; `request_ended` says how."""

    def request_ended(self, end: RequestOutcome) -> None:
        """A request is over, whether or not it reached a route."""

    def stream_opened(self) -> None:
        """An event stream or a WebSocket has been opened."""

    def stream_closed(self) -> None:
        """An event stream or a WebSocket has been closed."""


@frozen
class RequestObservers(RequestObserver):
    """Several observers as one."""

    observers: tuple[RequestObserver, ...]

    @override
    def request_began(self, request: UnderWay) -> None:
        for observer in self.observers:
            observer.request_began(request)

    @override
    def request_left(self, request: UnderWay) -> None:
        for observer in self.observers:
            observer.request_left(request)

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        for observer in self.observers:
            observer.request_ended(end)

    @override
    def stream_opened(self) -> None:
        for observer in self.observers:
            observer.stream_opened()

    @override
    def stream_closed(self) -> None:
        for observer in self.observers:
            observer.stream_closed()
