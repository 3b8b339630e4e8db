"""The description of a route, from which ``GET /openapi.json`` is made. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ClaudeUnresponsive,
    ContentFiltered,
    ContextLengthExceeded,
    InsufficientQuota,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    QueueFull,
    RateLimited,
    SchemaNotSatisfied,
    ShuttingDown,
    TimedOut,
    UnsupportedValue,
)
from ccproxy.web.error_formats import OPENAI, ErrorFormat

JSONSchema = Mapping[str, Any]
# A struct, the name of a schema that no struct describes, or the schema itself.
Schema = type[msgspec.Struct] | str | JSONSchema

JSON, EVENTS, PLAIN = "application/json", "text/event-stream", "text/plain"

# A werkzeug placeholder in a path.
_PLACE = re.compile(r"<(?:\w+:)?(\w+)>")

# The errors of a request to the model.
MODEL_ERRORS: tuple[type[CCProxyError], ...] = (
    *(UnsupportedValue, ModelNotFound, ContextLengthExceeded, ContentFiltered),
    *(ClaudeUnavailable, ClaudeUnresponsive, ClaudeFailed, NotLoggedIn),
    *(Overloaded, ShuttingDown, TimedOut),
    *(RateLimited, InsufficientQuota, QueueFull, SchemaNotSatisfied),
)

# The errors of a request whose tokens are counted.
COUNT_ERRORS: tuple[type[CCProxyError], ...] = (
    *(UnsupportedValue, ModelNotFound, ClaudeUnavailable, ClaudeUnresponsive),
    *(NotLoggedIn, Overloaded, ShuttingDown, QueueFull),
)
COUNT_DESCRIPTION = (
    "The header `x-ccproxy-token-count` is `exact` if the provider has counted the "
    "whole request, otherwise `estimated`."
)


@frozen
class ResponseSpec:
    """A successful response.

    Attributes:
        status: the HTTP status.
        description: one sentence.
        content: the schema of each media type.
    """

    status: int
    description: str
    content: Mapping[str, Schema] = {}


@frozen(kw_only=True)
class Operation:
    """A method of a route.

    Attributes:
        id: OpenAPI's ``operationId``.
        tag: groups operations.
        summary: one clause; docs/api.md quotes it.
        responses: the successful responses.
        errors: the route's own errors. `ccproxy.api.openapi.document` adds the errors
            that all routes have, and those of keys and bodies.
        description: further sentences.
        request: the struct of the body; None: the body is not read.
        is_request_optional: whether the body may be empty.
        parameters: OpenAPI's parameter objects for the query and for headers.
        needs_key: whether the API key is checked before the route runs.
        is_quiet: whether the dashboard omits requests that succeed.
        error_formats: the formats of the error documents.
        creates: a pair: the placeholder that stands for the created object in other
            paths, and the field of the response that has its id; None: the route
            creates nothing.
    """

    id: str
    tag: str
    summary: str
    responses: tuple[ResponseSpec, ...]
    errors: tuple[type[CCProxyError], ...] = ()
    description: str = ""
    request: type[msgspec.Struct] | None = None
    is_request_optional: bool = False
    parameters: tuple[JSONSchema, ...] = ()
    needs_key: bool = True
    is_quiet: bool = False
    error_formats: tuple[ErrorFormat, ...] = (OPENAI,)
    creates: tuple[str, str] | None = None


@frozen
class Route:
    """A method and a path, with their operation.

    Attributes:
        path: without ``/v1``, with werkzeug's placeholders.
    """

    method: str
    path: str
    operation: Operation

    @property
    def name(self) -> str:
        """Method and path, for logs and counts."""
        return f"{self.method} {self.path}"

    @property
    def template(self) -> str:
        """The path with OpenAPI's placeholders."""
        return _PLACE.sub(r"{\1}", self.path)


def parameter(
    name: str, description: str, schema: JSONSchema, location: str = "query"
) -> JSONSchema:
    """An optional parameter of a request."""
    return {
        "name": name,
        "in": location,
        "description": description,
        "schema": schema,
    }


def json_response_spec(
    schema: Schema, description: str = "Done.", status: int = 200
) -> ResponseSpec:
    """A response of one JSON document."""
    return ResponseSpec(status, description, {JSON: schema})


def json_or_events(
    schema: Schema, events: str, event: type[msgspec.Struct] | None = None
) -> ResponseSpec:
    """A response that is one JSON document, or an event stream with ``stream``.

    Args:
        schema: the schema of the document.
        events: what the stream contains.
        event: the struct of every event's data; None: the events differ.
    """
    description = f"The whole answer; or, with `stream`, {events}"
    # OpenAPI 3.1 cannot describe the data of a single event.
    stream: JSONSchema = {} if event is None else {"x-event": event}
    return ResponseSpec(200, description, {JSON: schema, EVENTS: stream})
