"""One request and what becomes of it: for the log, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from ccproxy.errors import CCProxyError
from ccproxy.events import Usage
from ccproxy.web.response import request_id

# Not the class's: events are kept until a log is begun, and would keep the request.
_log = Logger()

# Nginx' number for a client that went away before its answer was whole.
CLIENT_GONE = 499


class Answer(Protocol):
    """An answer in the making, as far as the log is concerned."""

    @property
    def error(self) -> CCProxyError | None:
        """The error that it ended with."""

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""

    @property
    def usage(self) -> Usage:
        """What the answer cost, once it is over."""


@define(eq=False)
class Exchange:
    """A request on its way through the routes.

    Attributes:
        route: method and path as they are documented, never as they were sent.
        model: the full id of who answered, as soon as it is known.
        error: what went wrong, also after the status was sent.
    """

    request: Request
    route: str
    _clock: IReactorTime
    id: str = field(init=False)
    model: str = ""
    usage: Usage | None = None
    error: CCProxyError | None = None
    _began_seconds: float = field(init=False)

    @property
    def hex(self) -> str:
        """What the ids of everything in the answer are made of."""
        return self.id.removeprefix("req_")

    def __attrs_post_init__(self) -> None:
        self.id = request_id(self.request)
        self._began_seconds = self._clock.seconds()

    @contextmanager
    def following(self, answer: Answer) -> Iterator[None]:
        """Note what became of the answer, however this ends."""
        try:
            yield
        finally:
            self.model, self.usage = answer.model, answer.usage
            self.error = answer.error

    def log(self, status: int) -> None:
        """Write the one line that this request is worth."""
        usage = self.usage or Usage()
        milliseconds = round(1000 * (self._clock.seconds() - self._began_seconds))
        _log.info(
            "{id} {route} {status} {outcome} {milliseconds} ms, model {model}, "
            "{prompt_tokens} tokens in, {completion_tokens} out",
            id=self.id,
            route=self.route,
            status=status,
            outcome=self._outcome(status),
            milliseconds=milliseconds,
            model=self.model or "-",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.output_tokens,
        )

    def _outcome(self, status: int) -> str:
        if status == CLIENT_GONE:
            return "client_gone"
        return self.error.code if self.error is not None else "ok"
