"""The requests, as metrics, usage ledger and dashboard are told of them. Pure."""

from typing import Protocol

from attrs import frozen
from typing_extensions import override

from ccproxy.core.stream import Usage
from ccproxy.web.answer_stats import AnswerStats


@frozen(kw_only=True)
class RequestOutcome:
    """A request that has ended, or a response that ended without its own request.

    Attributes:
        route: method and path as they are documented; never as they were sent.
        status: of HTTP; 499 if the client disconnected, 101 over a WebSocket.
        finish: why the answer ended: a `FinishReason`, an error's code,
            ``client_gone``; ``none`` if there was no answer.
        model: the full id of the model that answered; empty: none did.
        usage: of the answer; None: there was none, or its usage is unknown.
        cost_usd: the cost that the CLI reported; None: it reported none.
        key: the id of the key that was sent.
        client: the family of the client program.
        id: of the request, as in the log.
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
    """An active request."""

    @property
    def id(self) -> str:
        """The request's id, as in its response and in the log."""

    @property
    def route(self) -> str:
        """Method and path as they are documented."""

    @property
    def is_quiet(self) -> bool:
        """Whether the dashboard leaves the request out if it succeeds."""

    @property
    def key(self) -> str:
        """The id of the key that was sent."""

    @property
    def client(self) -> str:
        """The family of the client program."""

    @property
    def stats(self) -> AnswerStats:
        """Usage and times of the request's answers."""


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
