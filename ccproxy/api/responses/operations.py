"""The operations of the routes of Responses, for ``GET /openapi.json``. Pure."""

from ccproxy.api.responses.request import ResponsesRequest
from ccproxy.core.errors import (
    InvalidEncryptedContent,
    NotFound,
    NotSupported,
    OriginNotAllowed,
    PreviousResponseNotFound,
    StorageFailed,
    UpgradeRequired,
)
from ccproxy.web.operation import (
    MODEL_ERRORS,
    Operation,
    ResponseSpec,
    json_or_events,
    json_response_spec,
    parameter,
)

STORE_ERRORS = (NotFound, StorageFailed)
_CREATE_ERRORS = (
    *(*MODEL_ERRORS, *STORE_ERRORS),
    *(InvalidEncryptedContent, PreviousResponseNotFound),
)

INCLUDE = parameter(
    "include",
    "`reasoning.encrypted_content` shows sealed thinking.",
    {"type": "array", "items": {"type": "string"}},
)
PAGE = (
    parameter("after", "The item before the first one.", {"type": "string"}),
    parameter(
        "limit",
        "How many.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
    parameter("order", "By age.", {"enum": ["asc", "desc"], "default": "desc"}),
    INCLUDE,
)

CREATE = Operation(
    id="createResponse",
    tag="responses",
    summary="ask; streamed, in the background, or not",
    description=(
        "A stream has OpenAI's `response.…` events, the last one is "
        "`data: [DONE]`. One that fails ends with `error` and `response.failed`."
    ),
    request=ResponsesRequest,
    creates=("name", "id"),
    responses=(json_or_events("Response", "every event of it."),),
    errors=_CREATE_ERRORS,
)
CONNECT = Operation(
    id="connect",
    tag="responses",
    summary="with an upgrade: a WebSocket, for one response after the other",
    description=(
        'Each message is `{"type": "response.create"}` with the fields of '
        "`ResponsesRequest`; the answers are the events of a stream, one a "
        "message. What is refused is told by an `error` message; with "
        "`websocket_connection_limit_reached` the connection ends."
    ),
    responses=(ResponseSpec(101, "A WebSocket from here on (RFC 6455)."),),
    errors=(OriginNotAllowed, UpgradeRequired),
)
COMPACT = Operation(
    id="compact",
    tag="responses",
    summary="a conversation to one sealed item",
    request=ResponsesRequest,
    responses=(json_response_spec("Compaction"),),
    errors=_CREATE_ERRORS,
)
INPUT_TOKENS = Operation(
    id="countInputTokens",
    tag="responses",
    summary="501: the CLI does not tell them",
    responses=(),
    errors=(NotSupported,),
)
RETRIEVE = Operation(
    id="getResponse",
    tag="responses",
    summary="a kept one as it is now, or its stream once more",
    parameters=(
        parameter("stream", "Its events once more.", {"type": "boolean"}),
        parameter(
            "starting_after",
            "With `stream`: the last event that you have.",
            {"type": "integer", "minimum": 0, "maximum": 10**9},
        ),
        INCLUDE,
    ),
    responses=(json_or_events("Response", "its events."),),
    errors=STORE_ERRORS,
)
DELETE = Operation(
    id="deleteResponse",
    tag="responses",
    summary="take it away",
    responses=(json_response_spec("DeletedResponse"),),
    errors=STORE_ERRORS,
)
CANCEL = Operation(
    id="cancelResponse",
    tag="responses",
    summary="end one that answers in the background",
    responses=(json_response_spec("Response"),),
    errors=STORE_ERRORS,
)
INPUT_ITEMS = Operation(
    id="listInputItems",
    tag="responses",
    summary="what it was given, in pages",
    parameters=PAGE,
    responses=(json_response_spec("ItemList"),),
    errors=STORE_ERRORS,
)
