"""The routes of Responses and conversations, for ``GET /openapi.json``. Pure."""

from ccproxy.api.openapi.terms import (
    ALWAYS,
    BODY,
    MODEL,
    SENT,
    Errors,
    Operation,
    ResponseSpec,
    json_answer,
    json_or_events,
    parameter,
)
from ccproxy.core.errors import (
    InvalidEncryptedContent,
    NotFound,
    NotSupported,
    OriginNotAllowed,
    PreviousResponseNotFound,
    StorageFailed,
    UnsupportedValue,
    UpgradeRequired,
)

_KEPT: Errors = (NotFound, StorageFailed)
_RESPONSE: Errors = (*MODEL, *_KEPT, InvalidEncryptedContent, PreviousResponseNotFound)
_ITEMS: Errors = (*BODY, *_KEPT, UnsupportedValue)

_INCLUDE = parameter(
    "include",
    "`reasoning.encrypted_content` shows sealed thinking.",
    {"type": "array", "items": {"type": "string"}},
)
_PAGE = (
    parameter("after", "The item before the first one.", {"type": "string"}),
    parameter(
        "limit",
        "How many.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
    parameter("order", "By age.", {"enum": ["asc", "desc"], "default": "desc"}),
    _INCLUDE,
)


RESPONSES = (
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
        answers=(json_or_events("Response", "every event of it."),),
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
        answers=(ResponseSpec(101, "A WebSocket from here on (RFC 6455)."),),
        errors=(*ALWAYS, OriginNotAllowed, UpgradeRequired),
    ),
    Operation(
        method="POST",
        path="/responses/compact",
        name="compact",
        tag="responses",
        summary="a conversation to one sealed item",
        body="ResponsesRequest",
        answers=(json_answer("Compaction"),),
        errors=_RESPONSE,
    ),
    Operation(
        method="POST",
        path="/responses/input_tokens",
        name="countInputTokens",
        tag="responses",
        summary="501: the CLI does not tell them",
        answers=(),
        errors=(*SENT, NotSupported),
    ),
    Operation(
        method="GET",
        path="/responses/{name}",
        name="getResponse",
        tag="responses",
        summary="a kept one as it is now, or its stream once more",
        query=(
            parameter("stream", "Its events once more.", {"type": "boolean"}),
            parameter(
                "starting_after",
                "With `stream`: the last event that you have.",
                {"type": "integer", "minimum": 0, "maximum": 10**9},
            ),
            _INCLUDE,
        ),
        answers=(json_or_events("Response", "its events."),),
        errors=(*ALWAYS, *_KEPT),
    ),
    Operation(
        method="DELETE",
        path="/responses/{name}",
        name="deleteResponse",
        tag="responses",
        summary="take it away",
        answers=(json_answer("DeletedResponse"),),
        errors=(*ALWAYS, *_KEPT),
    ),
    Operation(
        method="POST",
        path="/responses/{name}/cancel",
        name="cancelResponse",
        tag="responses",
        summary="end one that answers in the background",
        answers=(json_answer("Response"),),
        errors=(*SENT, *_KEPT),
    ),
    Operation(
        method="GET",
        path="/responses/{name}/input_items",
        name="listInputItems",
        tag="responses",
        summary="what it was given, in pages",
        query=_PAGE,
        answers=(json_answer("ItemList"),),
        errors=(*ALWAYS, *_KEPT),
    ),
)

CONVERSATIONS = (
    Operation(
        method="POST",
        path="/conversations",
        name="createConversation",
        tag="conversations",
        summary="a new one, with up to 20 items",
        body="NewConversation",
        needs_body=False,
        makes=("name", "id"),
        answers=(json_answer("ConversationResource"),),
        errors=_ITEMS,
    ),
    Operation(
        method="GET",
        path="/conversations/{name}",
        name="getConversation",
        tag="conversations",
        summary="its metadata",
        answers=(json_answer("ConversationResource"),),
        errors=(*ALWAYS, *_KEPT),
    ),
    Operation(
        method="POST",
        path="/conversations/{name}",
        name="updateConversation",
        tag="conversations",
        summary="new metadata",
        body="ConversationUpdate",
        answers=(json_answer("ConversationResource"),),
        errors=(*BODY, *_KEPT),
    ),
    Operation(
        method="DELETE",
        path="/conversations/{name}",
        name="deleteConversation",
        tag="conversations",
        summary="take it away, with its items",
        answers=(json_answer("DeletedConversation"),),
        errors=(*ALWAYS, *_KEPT),
    ),
    Operation(
        method="GET",
        path="/conversations/{name}/items",
        name="listConversationItems",
        tag="conversations",
        summary="its items, in pages",
        query=_PAGE,
        answers=(json_answer("ItemList"),),
        errors=(*ALWAYS, *_KEPT),
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
        answers=(json_answer("ItemList"),),
        errors=_ITEMS,
    ),
    Operation(
        method="GET",
        path="/conversations/{name}/items/{item}",
        name="getConversationItem",
        tag="conversations",
        summary="one item",
        query=(_INCLUDE,),
        answers=(json_answer("Item"),),
        errors=(*ALWAYS, *_KEPT),
    ),
    Operation(
        method="DELETE",
        path="/conversations/{name}/items/{item}",
        name="deleteConversationItem",
        tag="conversations",
        summary="take one item away",
        answers=(json_answer("ConversationResource"),),
        errors=(*ALWAYS, *_KEPT),
    ),
)
