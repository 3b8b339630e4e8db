"""Every route, as ``GET /openapi.json`` and docs/api.md tell of it. Pure.

Who adds a route adds it here: tests compare the table with the router and the page.
"""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from ccproxy.dialects.openapi_schemas import reference
from ccproxy.errors import (
    Bug,
    CCProxyError,
    ClaudeFailed,
    ClaudeUnavailable,
    ContextLengthExceeded,
    ForeignOrigin,
    InsufficientQuota,
    InvalidKey,
    InvalidRequest,
    InvalidSeal,
    MissingParameter,
    ModelNotFound,
    NotFound,
    NotLoggedIn,
    NotPossible,
    Overloaded,
    PreviousResponseNotFound,
    QueueFull,
    RateLimited,
    RequestTooLarge,
    SchemaNotSatisfied,
    ShuttingDown,
    StorageFailed,
    TimedOut,
    UnsupportedValue,
    UpgradeRequired,
)

Schema = Mapping[str, Any]
Errors = tuple[type[CCProxyError], ...]

_JSON, _EVENTS, _PLAIN = "application/json", "text/event-stream", "text/plain"


@frozen
class Answer:
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
        makes: the place-holder that what it makes has in other paths, and where its
            id is in the answer.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    errors: Errors
    more: str = ""
    body: str | None = None
    needs_body: bool = True
    query: tuple[Schema, ...] = ()
    needs_key: bool = True
    makes: tuple[str, str] | None = None


def _parameter(name: str, what: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": what, "schema": schema}


def _json(name: str, what: str = "Done.", status: int = 200) -> Answer:
    return Answer(status, what, {_JSON: reference(name)})


def _json_or_events(name: str, events: str, event: str | None = None) -> Answer:
    what = f"The whole answer; or, with `stream`, {events}"
    # OpenAPI 3.1 has no word for the schema of what one event carries.
    stream: dict[str, Any] = {} if event is None else {"x-event": reference(event)}
    return Answer(200, what, {_JSON: reference(name), _EVENTS: stream})


_KEYLESS: Errors = (InvalidRequest, Bug)
_ALWAYS: Errors = (*_KEYLESS, InvalidKey)
_BODY: Errors = (*_ALWAYS, RequestTooLarge, MissingParameter)
# What a question to the model may come to.
_MODEL: Errors = (
    *(ClaudeUnavailable, ClaudeFailed, NotLoggedIn),
    *(Overloaded, ShuttingDown, TimedOut),
    *(UnsupportedValue, ModelNotFound, ContextLengthExceeded),
    *(RateLimited, InsufficientQuota, QueueFull, SchemaNotSatisfied),
)
_KEPT: Errors = (NotFound, StorageFailed)
_RESPONSE: Errors = (*(*_BODY, *_MODEL, *_KEPT, InvalidSeal, PreviousResponseNotFound),)
_ITEMS: Errors = (*_BODY, *_KEPT, UnsupportedValue)

_INCLUDE = _parameter(
    "include",
    "`reasoning.encrypted_content` shows sealed thinking.",
    {"type": "array", "items": {"type": "string"}},
)
_PAGE = (
    _parameter("after", "The item before the first one.", {"type": "string"}),
    _parameter(
        "limit",
        "How many.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
    _parameter("order", "By age.", {"enum": ["asc", "desc"], "default": "desc"}),
    _INCLUDE,
)

_SERVER = (
    Operation(
        method="GET",
        path="/health",
        name="health",
        tag="server",
        summary="`ok`: the server runs; without a key",
        answers=(Answer(200, "It runs.", {_PLAIN: {"const": "ok"}}),),
        errors=_KEYLESS,
        needs_key=False,
    ),
    Operation(
        method="GET",
        path="/ready",
        name="ready",
        tag="server",
        summary="whether the CLI answers, and who is logged in; 503 if not",
        answers=(_json("Status", "Ready."), _json("Status", "Not ready.", 503)),
        errors=_ALWAYS,
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        tag="server",
        summary="this, in OpenAPI 3.1",
        answers=(Answer(200, "This document.", {_JSON: {"type": "object"}}),),
        errors=_ALWAYS,
    ),
    Operation(
        method="GET",
        path="/models",
        name="listModels",
        tag="models",
        summary="the models",
        answers=(_json("ModelList"),),
        errors=_ALWAYS,
    ),
    Operation(
        method="GET",
        path="/models/{name}",
        name="getModel",
        tag="models",
        summary="one, by any name that would be answered",
        more="Slashes within the name need not be encoded.",
        answers=(_json("Model"),),
        errors=(*_ALWAYS, ModelNotFound),
    ),
)

_CHAT = (
    Operation(
        method="POST",
        path="/chat/completions",
        name="createChatCompletion",
        tag="chat",
        summary="ask; streamed or not",
        more=(
            "A stream's events are `data: ` and a `Chunk` each, the last one is "
            "`data: [DONE]`; comments come where nothing else does. One that fails "
            "ends with `data: ` and an `Error` instead."
        ),
        body="ChatRequest",
        answers=(_json_or_events("Document", "an event for each chunk.", "Chunk"),),
        errors=(*_BODY, *_MODEL),
    ),
)

_RESPONSES = (
    Operation(
        method="POST",
        path="/responses",
        name="createResponse",
        tag="responses",
        summary="ask; streamed, in the background, or not",
        more=(
            "A stream has OpenAI's `response.…` events, the last one is "
            "`data: [DONE]`. One that fails ends with `error` and `response.failed`."
        ),
        body="ResponsesRequest",
        makes=("name", "id"),
        answers=(_json_or_events("Response", "every event of it."),),
        errors=_RESPONSE,
    ),
    Operation(
        method="GET",
        path="/responses",
        name="connect",
        tag="responses",
        summary="with an upgrade: a WebSocket, for one response after the other",
        more=(
            'Each message is `{"type": "response.create"}` with the fields of '
            "`ResponsesRequest`; the answers are the events of a stream, one a "
            "message. What is refused is told by an `error` message; with "
            "`websocket_connection_limit_reached` the connection ends."
        ),
        answers=(Answer(101, "A WebSocket from here on (RFC 6455)."),),
        errors=(*_ALWAYS, ForeignOrigin, UpgradeRequired),
    ),
    Operation(
        method="POST",
        path="/responses/compact",
        name="compact",
        tag="responses",
        summary="a conversation to one sealed item",
        body="ResponsesRequest",
        answers=(_json("Compaction"),),
        errors=_RESPONSE,
    ),
    Operation(
        method="POST",
        path="/responses/input_tokens",
        name="countInputTokens",
        tag="responses",
        summary="501: the CLI does not tell them",
        answers=(),
        errors=(*_ALWAYS, RequestTooLarge, NotPossible),
    ),
    Operation(
        method="GET",
        path="/responses/{name}",
        name="getResponse",
        tag="responses",
        summary="a kept one as it is now, or its stream once more",
        query=(
            _parameter("stream", "Its events once more.", {"type": "boolean"}),
            _parameter(
                "starting_after",
                "With `stream`: the last event that you have.",
                {"type": "integer", "minimum": 0, "maximum": 10**9},
            ),
            _INCLUDE,
        ),
        answers=(_json_or_events("Response", "its events."),),
        errors=(*_ALWAYS, *_KEPT),
    ),
    Operation(
        method="DELETE",
        path="/responses/{name}",
        name="deleteResponse",
        tag="responses",
        summary="take it away",
        answers=(_json("DeletedResponse"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
    Operation(
        method="POST",
        path="/responses/{name}/cancel",
        name="cancelResponse",
        tag="responses",
        summary="end one that answers in the background",
        answers=(_json("Response"),),
        errors=(*_ALWAYS, RequestTooLarge, *_KEPT),
    ),
    Operation(
        method="GET",
        path="/responses/{name}/input_items",
        name="listInputItems",
        tag="responses",
        summary="what it was given, in pages",
        query=_PAGE,
        answers=(_json("ItemList"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
)

_CONVERSATIONS = (
    Operation(
        method="POST",
        path="/conversations",
        name="createConversation",
        tag="conversations",
        summary="a new one, with up to 20 items",
        body="NewConversation",
        needs_body=False,
        makes=("name", "id"),
        answers=(_json("ConversationResource"),),
        errors=_ITEMS,
    ),
    Operation(
        method="GET",
        path="/conversations/{name}",
        name="getConversation",
        tag="conversations",
        summary="its metadata",
        answers=(_json("ConversationResource"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
    Operation(
        method="POST",
        path="/conversations/{name}",
        name="updateConversation",
        tag="conversations",
        summary="new metadata",
        body="ConversationUpdate",
        answers=(_json("ConversationResource"),),
        errors=(*_BODY, *_KEPT),
    ),
    Operation(
        method="DELETE",
        path="/conversations/{name}",
        name="deleteConversation",
        tag="conversations",
        summary="take it away, with its items",
        answers=(_json("DeletedConversation"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
    Operation(
        method="GET",
        path="/conversations/{name}/items",
        name="listConversationItems",
        tag="conversations",
        summary="its items, in pages",
        query=_PAGE,
        answers=(_json("ItemList"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
    Operation(
        method="POST",
        path="/conversations/{name}/items",
        name="createConversationItems",
        tag="conversations",
        summary="add up to 20 items",
        query=(_INCLUDE,),
        body="NewItems",
        makes=("item", "first_id"),
        answers=(_json("ItemList"),),
        errors=_ITEMS,
    ),
    Operation(
        method="GET",
        path="/conversations/{name}/items/{item}",
        name="getConversationItem",
        tag="conversations",
        summary="one item",
        query=(_INCLUDE,),
        answers=(_json("Item"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
    Operation(
        method="DELETE",
        path="/conversations/{name}/items/{item}",
        name="deleteConversationItem",
        tag="conversations",
        summary="take one item away",
        answers=(_json("ConversationResource"),),
        errors=(*_ALWAYS, *_KEPT),
    ),
)

OPERATIONS = (*_SERVER, *_CHAT, *_RESPONSES, *_CONVERSATIONS)
