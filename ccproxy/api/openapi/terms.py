"""What a route is to ``GET /openapi.json``, and what many of them have. Pure."""

from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Any, Literal

from attrs import frozen

from ccproxy.api.openapi.schemas import reference
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ClaudeUnresponsive,
    ContextLengthExceeded,
    HostNotAllowed,
    InsufficientQuota,
    InternalError,
    InvalidKey,
    InvalidRequest,
    MissingParameter,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    QueueFull,
    RateLimited,
    RequestTimedOut,
    RequestTooLarge,
    SchemaNotSatisfied,
    ShuttingDown,
    TimedOut,
    TooManyConnections,
    UnsupportedEncoding,
    UnsupportedValue,
)

Schema = Mapping[str, Any]
Method = Literal["GET", "POST", "DELETE"]
Errors = tuple[type[CCProxyError], ...]

JSON, EVENTS, PLAIN = "application/json", "text/event-stream", "text/plain"


class Dialect(Enum):
    """Whose API it is."""

    OPENAI = auto()
    ANTHROPIC = auto()


@frozen
class ResponseSpec:
    """An answer that is no error.

    Attributes:
        content: the schema of each media type that it may have.
    """

    status: int
    what: str
    content: Mapping[str, Schema] = {}


@frozen(kw_only=True)
class Operation:
    """A method of a route.

    Attributes:
        path: without ``/v1``; ``{name}`` is a place-holder.
        name: ``operationId``.
        summary: what docs/api.md says, too.
        more: what else there is to know.
        body: the name of its schema.
        query: parameters, as OpenAPI has them.
        errors: what may be refused, or fail.
        dialects: in whose words errors are told: OpenAI's, Anthropic's, or either's.
        makes: the place-holder that what it makes has in other paths, and where its
            id is in the answer.
    """

    method: Method
    path: str
    name: str
    tag: str
    summary: str
    answers: tuple[ResponseSpec, ...]
    errors: Errors
    more: str = ""
    body: str | None = None
    needs_body: bool = True
    query: tuple[Schema, ...] = ()
    needs_key: bool = True
    dialects: Collection[Dialect] = (Dialect.OPENAI,)
    makes: tuple[str, str] | None = None


def parameter(name: str, what: str, schema: Schema, where: str = "query") -> Schema:
    """A parameter that may be left out."""
    return {"name": name, "in": where, "description": what, "schema": schema}


def json_answer(name: str, what: str = "Done.", status: int = 200) -> ResponseSpec:
    """An answer with one schema."""
    return ResponseSpec(status, what, {JSON: reference(name)})


def json_or_events(name: str, events: str, event: str | None = None) -> ResponseSpec:
    """An answer that may be streamed.

    Args:
        name: the schema of the whole.
        events: what a stream has.
        event: the schema of the data of one, if they all have the same.
    """
    what = f"The whole answer; or, with `stream`, {events}"
    # OpenAPI 3.1 has no word for the schema of what one event carries.
    stream: dict[str, Any] = {} if event is None else {"x-event": reference(event)}
    return ResponseSpec(200, what, {JSON: reference(name), EVENTS: stream})


# What any request may come to …
KEYLESS: Errors = (
    *(InvalidRequest, HostNotAllowed, RequestTimedOut),
    *(TooManyConnections, InternalError),
)
ALWAYS: Errors = (*KEYLESS, InvalidKey)
# … one that has a body …
SENT: Errors = (*ALWAYS, RequestTooLarge, UnsupportedEncoding)
# … that is looked at …
BODY: Errors = (*SENT, MissingParameter)
# … and is a question to the model.
MODEL: Errors = (
    *BODY,
    *(UnsupportedValue, ModelNotFound, ContextLengthExceeded),
    *(ClaudeUnavailable, ClaudeUnresponsive, ClaudeFailed, NotLoggedIn),
    *(Overloaded, ShuttingDown, TimedOut),
    *(RateLimited, InsufficientQuota, QueueFull, SchemaNotSatisfied),
)
