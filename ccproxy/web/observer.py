"""Observers of requests, for metrics, usage and dashboard; families of clients. Pure.

A client program is counted by its family. The list of families is fixed, so that
clients cannot increase the number of metric series. A program whose ``User-Agent``
names only an HTTP library belongs to the family of that library.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from attrs import define, evolve, field, frozen
from typing_extensions import override

from ccproxy.core.stream import (
    Event,
    Finished,
    FinishReason,
    MessageStart,
    Restarted,
    Usage,
    is_token,
)

NONE, OTHER = "none", "other"

# The first match counts. Programs come before the libraries that they use.
_FAMILIES: Sequence[tuple[str, str]] = (
    ("claude-code", r"claude-cli|claude-code"),
    ("codex", r"\bcodex"),
    ("openclaw", r"openclaw"),
    ("opencode", r"opencode"),
    ("cline", r"\bcline"),
    ("continue", r"\bcontinue\b"),
    ("cursor", r"\bcursor\b"),
    ("aider", r"\baider"),
    ("litellm", r"litellm"),
    ("langchain", r"langchain"),
    ("open-webui", r"open ?-?webui"),
    ("home-assistant", r"home ?-?assistant"),
    ("n8n", r"\bn8n"),
    ("pydantic-ai", r"pydantic-ai"),
    ("openai-agents", r"agents/python|openai-agents"),
    ("vercel-ai-sdk", r"\bai-sdk|\bai/\d"),
    ("openai-python", r"(?:async)?openai/python"),
    ("openai-node", r"openai/js"),
    ("anthropic-python", r"(?:async)?anthropic/python"),
    ("anthropic-node", r"anthropic/js"),
    ("curl", r"^curl/"),
    ("wget", r"^wget/"),
    ("python", r"^python|httpx|aiohttp|treq|twisted"),
    ("node", r"\bnode\b|node-fetch|undici|axios|^deno|^bun/"),
    ("go", r"^go-http-client"),
    ("browser", r"^mozilla/"),
)
_PATTERNS = tuple((name, re.compile(p, re.IGNORECASE)) for name, p in _FAMILIES)
FAMILIES = (*(name for name, _ in _FAMILIES), NONE, OTHER)
# Characters of a `User-Agent` that are read.
_LONGEST = 200


@define(eq=False)
class AnswerUsage:
    """The usage of one answer, even if the answer fails or is cancelled.

    Attributes:
        usage: the usage that `Finished` reports; before the end, the sum of the usage
            that the messages reported when they began; None: no message has begun. It
            has no ``details``, which can keep a whole message in memory.
    """

    usage: Usage | None = field(default=None, init=False)
    # The sum over the messages before the current one.
    _earlier: Usage = field(factory=Usage, init=False)
    _restarts: bool = field(default=False, init=False)

    def receive(self, events: Sequence[Event]) -> None:
        """Update the usage with events of the answer."""
        for event in events:
            if isinstance(event, MessageStart):
                # The second try of a message replaces the first, as in `Finished`.
                if self.usage is not None and not self._restarts:
                    self._earlier = self.usage
                self._restarts = False
                self.usage = self._earlier + _counts(event.usage)
            elif isinstance(event, Restarted):
                self._restarts = True
            elif isinstance(event, Finished):
                self.usage = _counts(event.usage)


def _counts(usage: Usage) -> Usage:
    return evolve(usage, details={})


@define(eq=False)
class AnswerStats:
    """Model, usage and times of the answers to one request, updated with each event.

    Attributes:
        model: the full id of the model; empty before an answer begins.
        finish: why the last answer ended; None: no answer has ended.
        cost_usd: the cost that the CLI reported; None: it reported none.
        conversation: the id of the conversation; empty: no request was sent.
        began_seconds: when the first token arrived, on the clock of ``seconds``; None:
            there is no token yet.

    Args:
        seconds: returns the time of a monotonic clock.
    """

    _seconds: Callable[[], float]
    model: str = field(default="", init=False)
    finish: FinishReason | None = field(default=None, init=False)
    cost_usd: float | None = field(default=None, init=False)
    conversation: str = field(default="", init=False)
    began_seconds: float | None = field(default=None, init=False)
    _usages: list[AnswerUsage] = field(factory=list, init=False)

    @property
    def usage(self) -> Usage | None:
        """The sum over the answers, complete or not; None: no answer has begun."""
        begun = [each.usage for each in self._usages if each.usage is not None]
        return sum(begun, start=Usage()) if begun else None

    def new_usage(self) -> AnswerUsage:
        """Count one more answer; the caller passes its events to the result."""
        self._usages.append(AnswerUsage())
        return self._usages[-1]

    @property
    def answering_seconds(self) -> float | None:
        """The time since the first token; None: there is no token yet."""
        if self.began_seconds is None:
            return None
        return self._seconds() - self.began_seconds

    def receive(self, events: Sequence[Event]) -> None:
        """Update the stats with events of one of the answers."""
        if self.began_seconds is None:
            self._await_token(events)
        end = events[-1]
        if isinstance(end, Finished):
            self.finish = end.reason
            if end.cost_usd is not None:
                self.cost_usd = (self.cost_usd or 0.0) + end.cost_usd

    def _await_token(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, MessageStart):
                self.model = event.model
            elif is_token(event):
                self.began_seconds = self._seconds()
                return


@frozen(kw_only=True)
class RequestOutcome:
    """The outcome of a request, of a background response, or of one on a WebSocket.

    Attributes:
        route: method and path as they are documented, never as they were sent.
        status: the HTTP status; 499 if the client disconnected, 101 over a WebSocket.
        finish: why the answer ended: a `FinishReason`, an error's code,
            ``client_gone``; ``none`` if there was no answer.
        model: the full id of the model that answered; empty: no model did.
        usage: the answer's usage, even if the answer was cut; None: no answer began.
        cost_usd: the cost that the CLI reported; None: it reported none.
        seconds: the duration of the request.
        key: the id of the key that was sent.
        client: the family of the client program.
        id: the request's id, as in the log.
        conversation: the id of the conversation; empty: no request was sent.
        is_quiet: whether the dashboard omits the request if it succeeded.
        is_error: whether the request failed, even if after its status was sent.
        answering_seconds: from the first token to the end; None: there was no token.
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
    conversation: str = ""
    is_quiet: bool = False


class ObservedRequest(Protocol):
    """An active request, as observers see it."""

    @property
    def id(self) -> str:
        """The request's id, as in its response and in the log."""

    @property
    def route(self) -> str:
        """Method and path as they are documented."""

    @property
    def is_quiet(self) -> bool:
        """Whether the dashboard omits the request if it succeeds."""

    @property
    def key(self) -> str:
        """The id of the key that was sent."""

    @property
    def client(self) -> str:
        """The family of the client program."""

    @property
    def stats(self) -> AnswerStats:
        """Model, cost and times of the request's answers."""


def peer_name(address: object) -> str:
    """The address of a client, without its port; for logs."""
    return str(getattr(address, "host", "a local socket"))


class RequestObserver:
    """Base class of observers of requests; its methods do nothing."""

    def request_began(self, request: ObservedRequest) -> None:
        """A request has reached its route."""

    def request_left(self, request: ObservedRequest) -> None:
        """A request that reached its route is over; `request_ended` follows."""

    def request_ended(self, end: RequestOutcome) -> None:
        """A request is over, whether or not it reached a route."""

    def key_refused(self, peer: str) -> None:
        """A request had no valid API key; `request_ended` follows.

        Args:
            peer: the address of the client.
        """

    def stream_opened(self) -> None:
        """An event stream or a WebSocket has been opened."""

    def stream_closed(self) -> None:
        """An event stream or a WebSocket has been closed."""


@frozen
class RequestObservers(RequestObserver):
    """Notifies several observers."""

    observers: tuple[RequestObserver, ...]

    @override
    def request_began(self, request: ObservedRequest) -> None:
        for observer in self.observers:
            observer.request_began(request)

    @override
    def request_left(self, request: ObservedRequest) -> None:
        for observer in self.observers:
            observer.request_left(request)

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        for observer in self.observers:
            observer.request_ended(end)

    @override
    def key_refused(self, peer: str) -> None:
        for observer in self.observers:
            observer.key_refused(peer)

    @override
    def stream_opened(self) -> None:
        for observer in self.observers:
            observer.stream_opened()

    @override
    def stream_closed(self) -> None:
        for observer in self.observers:
            observer.stream_closed()


def client_family(user_agent: str | None) -> str:
    """The family of a client program.

    Args:
        user_agent: the ``User-Agent`` header; None: the request has none.

    Returns:
        One of `FAMILIES`.
    """
    if not user_agent or not user_agent.strip():
        return NONE
    return _family(user_agent.strip()[:_LONGEST])


@lru_cache(maxsize=64)
def _family(user_agent: str) -> str:
    return next((name for name, found in _PATTERNS if found.search(user_agent)), OTHER)
