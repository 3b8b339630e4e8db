"""The context of one request: id, key, times, outcome, log line."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.web.server import Request
from zope.interface import Interface

from ccproxy.core.backend import Backend
from ccproxy.core.errors import Cause, CCProxyError, InvalidKey
from ccproxy.core.stream import Usage
from ccproxy.web.access import NO_KEY, Authenticator, CORSPolicy
from ccproxy.web.apart import LargeWork
from ccproxy.web.memory import HeldMemory, MemoryBudget
from ccproxy.web.observer import (
    AnswerStats,
    RequestObserver,
    RequestOutcome,
    client_family,
    peer_name,
)
from ccproxy.web.replies import request_id

_T = TypeVar("_T")

# A logger of the module, not of a class: log events of a class's logger refer to the
# object, and Twisted keeps the events in memory until logging begins.
_log = Logger()

# nginx' status for a client that disconnected before its response was complete.
CLIENT_GONE = 499
# The route name of a request that reached no route.
NO_ROUTE = "no route"
# The log line of a completed request.
_LINE = (
    "{id} {route} {status} {outcome} {milliseconds} ms, model {model}, "
    "{prompt_tokens} tokens in, {completion_tokens} out"
)
_LINE_WITH_CAUSE = _LINE.replace("{outcome}", "{outcome} ({cause})")
# Outcomes that are not counted as errors: a client may cancel its request.
_NO_ERRORS = ("ok", "cancelled", "client_gone")


class AnswerResult(Protocol):
    """The result of one request: model, error."""

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete, or has failed."""

    @property
    def error(self) -> CCProxyError | None:
        """The error that ended the answer."""

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before the answer begins."""


@frozen(kw_only=True)
class RequestIdentity:
    """The labels under which a request is counted and logged.

    Background responses and the responses of a WebSocket also have these labels.

    Attributes:
        route: method and path as they are documented.
        key: the id of the API key.
        client: the family of the client program.
        id: the id of the request or the response, as in the log.
        observer: notified of the end.
        is_quiet: whether the dashboard omits the request if it succeeds.
    """

    route: str
    key: str
    client: str
    id: str
    observer: RequestObserver
    is_quiet: bool = False

    def ended(
        self,
        *,
        status: int,
        outcome: str,
        cause: Cause | None,
        seconds: float,
        model: str,
        stats: AnswerStats,
    ) -> None:
        """Report the end of the request to the observer, and write its log line.

        Args:
            status: the HTTP status.
            outcome: ``ok``, or an error's code.
            cause: the cause of that error, if it has one.
            seconds: the duration of the request.
            model: the full id of the model that answered; empty: no model did.
            stats: times, usage and cost of the answers.
        """
        finish = "none" if stats.finish is None else stats.finish.value
        self.observer.request_ended(
            RequestOutcome(
                route=self.route,
                status=status,
                finish=finish if outcome == "ok" else outcome,
                model=model,
                usage=stats.usage,
                cost_usd=stats.cost_usd,
                seconds=seconds,
                key=self.key,
                client=self.client,
                id=self.id,
                is_quiet=self.is_quiet,
                is_error=outcome not in _NO_ERRORS,
                answering_seconds=stats.answering_seconds,
                conversation=stats.conversation,
            )
        )
        counts = stats.usage or Usage()
        # Wrong keys have a log line of their own: `RequestObserver.key_refused`.
        _log.emit(
            LogLevel.debug if outcome == InvalidKey.code else LogLevel.info,
            _LINE if cause is None else _LINE_WITH_CAUSE,
            id=self.id,
            route=self.route,
            status=status,
            outcome=outcome,
            cause=None if cause is None else cause.value,
            milliseconds=round(1000 * seconds),
            model=model or "-",
            prompt_tokens=counts.prompt_tokens,
            completion_tokens=counts.output_tokens,
        )


@frozen(kw_only=True)
class RequestServices:
    """The services that routes use.

    Attributes:
        wall_seconds: returns the Unix time.
        memory: counts the large data that requests and WebSockets hold.
        repairs_histories: whether calls and results that do not match are repaired.
        is_strict: whether requests with fields that have no effect are refused.
        large_work: decodes and encodes large data in a thread.
    """

    authenticator: Authenticator
    cors: CORSPolicy
    clock: IReactorTime
    wall_seconds: Callable[[], float]
    observer: RequestObserver
    backend: Backend
    memory: MemoryBudget
    is_strict: bool = False
    repairs_histories: bool = False
    large_work: LargeWork = field(factory=LargeWork, init=False)


class IRequestContext(Interface):
    """The interface by which error handlers get the `RequestContext`.

    The context is set as a Twisted component of a `Request` that fails.
    """


@define(eq=False)
class RequestContext:
    """A request while its route runs.

    Attributes:
        route: method and path as they are documented, never as they were sent.
        is_quiet: whether the dashboard omits the request if it succeeds.
        model: the full id of the model that answers; empty while it is unknown.
        error: the error that ended the request, even if the status was already sent.
        key: the id of the API key; ``-``: no key was checked.
        stats: usage, cost and times of the answers.
    """

    request: Request
    services: RequestServices
    route: str = NO_ROUTE
    is_quiet: bool = False
    id: str = field(init=False)
    model: str = ""
    error: CCProxyError | None = None
    key: str = NO_KEY
    stats: AnswerStats = field(init=False)
    _began_seconds: float = field(init=False)

    @property
    def hex(self) -> str:
        """The hexadecimal part of the request's id, used in the ids of the response."""
        return self.id.removeprefix("req_")

    def __attrs_post_init__(self) -> None:
        self.id = request_id(self.request)
        clock = self.services.clock
        self.stats = AnswerStats(clock.seconds)
        self._began_seconds = clock.seconds()

    @property
    def identity(self) -> RequestIdentity:
        """The labels under which the request is counted and logged."""
        return RequestIdentity(
            route=self.route,
            key=self.key,
            client=self.client,
            id=self.id,
            observer=self.services.observer,
            is_quiet=self.is_quiet,
        )

    @property
    def memory(self) -> HeldMemory:
        """The memory that the request holds; released when it is over."""
        held: HeldMemory | None = getattr(self.request, "memory", None)
        if held is None:
            # In another application's server, requests have no `memory`.
            held = self.services.memory.holder()
            untyped: Any = self.request
            untyped.memory = held
            over = held.release
            self.request.notifyFinish().addBoth(lambda _: over())
        return held

    @property
    def client(self) -> str:
        """The family of the client program."""
        agent = self.request.requestHeaders.getRawHeaders("user-agent", [None])[0]
        return client_family(agent)

    @property
    def is_client_gone(self) -> bool:
        """Whether the connection is closed, or the response is complete."""
        return bool(self.request.finished) or self.request.channel is None

    def check_key(self) -> None:
        """Check the API key; for routes that need a key only sometimes.

        Raises:
            InvalidKey: there is no valid key.
        """
        authenticator = self.services.authenticator
        self.key = authenticator.check_headers(
            self.request.requestHeaders, self.request.uri
        )

    def body(self) -> bytes:
        """Read the body of the request.

        Raises:
            UnsupportedEncoding: the body is compressed.
            RequestTooLarge: the body is larger than the limit.
        """
        authenticator = self.services.authenticator
        headers = self.request.requestHeaders
        authenticator.check_encoding(headers.getRawHeaders(b"content-encoding", []))
        content: Any = self.request.content
        body: bytes = content.read()
        authenticator.check_size(len(body))
        return body

    async def decoded(self, decode: Callable[[bytes], _T]) -> _T:
        """Read and decode the body; a large body in a thread.

        Raises:
            UnsupportedEncoding: the body is compressed.
            RequestTooLarge: the body is larger than the limit.
        """
        body = self.body()
        return await self.services.large_work.run(len(body), decode, body)

    async def encoded(
        self, stored: Collection[bytes], encode: Callable[[], bytes]
    ) -> bytes:
        """Encode a document of stored data; large data in a thread.

        Args:
            stored: the data to encode. Its size counts in the request's `memory` until
                the client has read the response.
            encode: a pure function.

        Raises:
            ServerFull: the limit of `MemoryBudget` would be exceeded.
        """
        size_bytes = sum(map(len, stored))
        self.memory.add(size_bytes)
        work = self.services.large_work
        return await work.run(size_bytes, encode)

    def begin(self) -> None:
        """Report the request as active; `log` reports its end."""
        self.services.observer.request_began(self)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count an open event stream or WebSocket."""
        self.services.observer.stream_opened()
        try:
            yield
        finally:
            self.services.observer.stream_closed()

    @contextmanager
    def following(self, answer: AnswerResult) -> Iterator[None]:
        """Copy an answer's model and error to this request when the ``with`` ends."""
        try:
            yield
        finally:
            self.model, self.error = answer.model, answer.error

    def log(self, status: int) -> None:
        """Report the end of the request, and write its log line.

        Args:
            status: the HTTP status.
        """
        seconds = self.services.clock.seconds() - self._began_seconds
        outcome = self._outcome(status)
        self.services.observer.request_left(self)
        if isinstance(self.error, InvalidKey):
            self.services.observer.key_refused(
                peer_name(self.request.getClientAddress())
            )
        self.identity.ended(
            status=status,
            outcome=outcome,
            cause=self._cause(status),
            seconds=seconds,
            model=self.model,
            stats=self.stats,
        )

    def _outcome(self, status: int) -> str:
        if status == CLIENT_GONE:
            return "client_gone"
        return self.error.code if self.error is not None else "ok"

    def _cause(self, status: int) -> Cause | None:
        if status == CLIENT_GONE or self.error is None:
            return None
        return self.error.cause
