"""The `Operation` of each route of Responses, for ``GET /openapi.json``. Pure."""

from functools import partial

from ccproxy.api.responses.input.fields import ResponsesRequest
from ccproxy.api.responses.output.resource import InputTokens
from ccproxy.core.errors import (
    NotFound,
    OriginNotAllowed,
    PreviousResponseNotFound,
    StorageFailed,
    UpgradeRequired,
)
from ccproxy.web.operation import (
    COUNT_DESCRIPTION,
    COUNT_ERRORS,
    MODEL_ERRORS,
    Operation,
    ResponseSpec,
    json_or_events,
    json_response_spec,
    parameter,
)

STORE_ERRORS = (NotFound, StorageFailed)
_CREATE_ERRORS = (*MODEL_ERRORS, *STORE_ERRORS, PreviousResponseNotFound)

INCLUDE = parameter(
    "include",
    "`reasoning.encrypted_content`: reasoning items have encrypted thinking.",
    {"type": "array", "items": {"type": "string"}},
)
PAGE = (
    parameter("after", "The id of the item before the page.", {"type": "string"}),
    parameter(
        "limit",
        "The number of items.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
    parameter(
        "order",
        "`desc`: the newest item first.",
        {"enum": ["asc", "desc"], "default": "desc"},
    ),
    INCLUDE,
)

_operation = partial(Operation, tag="responses", errors=STORE_ERRORS)

CREATE = _operation(
    id="createResponse",
    summary="create a response, streamed, in the background, or neither",
    description=(
        "A stream has OpenAI's `response.…` events. The last event is "
        "`data: [DONE]`. If the stream fails, it ends with `error` and "
        "`response.failed`."
    ),
    request=ResponsesRequest,
    creates=("name", "id"),
    responses=(json_or_events("Response", "the events of the answer."),),
    errors=_CREATE_ERRORS,
)
CONNECT = _operation(
    id="connect",
    summary="with an upgrade: a WebSocket for several responses in sequence",
    description=(
        'Each message is `{"type": "response.create"}` with the fields of '
        "`ResponsesRequest`. Each event of the answer is one message. A request that "
        "is refused gets an `error` message. After "
        "`websocket_connection_limit_reached`, the server closes the connection."
    ),
    responses=(ResponseSpec(101, "The connection is now a WebSocket (RFC 6455)."),),
    errors=(OriginNotAllowed, UpgradeRequired),
)
COMPACT = _operation(
    id="compact",
    summary="replace a conversation by one encrypted item",
    request=ResponsesRequest,
    responses=(json_response_spec("Compaction"),),
    errors=_CREATE_ERRORS,
)
INPUT_TOKENS = _operation(
    id="countInputTokens",
    summary="the number of input tokens of a request, without an answer",
    description=COUNT_DESCRIPTION,
    request=ResponsesRequest,
    responses=(json_response_spec(InputTokens),),
    errors=(*COUNT_ERRORS, *STORE_ERRORS, PreviousResponseNotFound),
)
RETRIEVE = _operation(
    id="getResponse",
    summary="a stored response as it is now, or its events again",
    parameters=(
        parameter("stream", "Send the events again.", {"type": "boolean"}),
        parameter(
            "starting_after",
            "With `stream`: the number of the last event that you have.",
            {"type": "integer", "minimum": 0, "maximum": 10**9},
        ),
        INCLUDE,
    ),
    responses=(json_or_events("Response", "its events."),),
)
DELETE = _operation(
    id="deleteResponse",
    summary="delete a stored response",
    responses=(json_response_spec("DeletedResponse"),),
)
CANCEL = _operation(
    id="cancelResponse",
    summary="end a response in the background",
    responses=(json_response_spec("Response"),),
)
INPUT_ITEMS = _operation(
    id="listInputItems",
    summary="the input of a response, in pages",
    parameters=PAGE,
    responses=(json_response_spec("ItemList"),),
)
