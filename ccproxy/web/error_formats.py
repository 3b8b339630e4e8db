"""Error documents in the format of OpenAI's and of Anthropic's API. Pure.

An error has Anthropic's format if the path of the request belongs to the Messages API,
or if the request has the header ``anthropic-version``, which Anthropic's API requires.
Every other error has OpenAI's format. Only path and headers are used, because the
server can refuse a request before it has a route.

Source: ``ErrorResponse`` in OpenAI's document; ``WebSocketErrorEvent`` in the Open
Responses document; "Errors" in the Messages API's documentation, ``ErrorResponse``
and the exceptions of anthropic-python 2.14.
"""

import re
from collections.abc import Callable, Mapping

from attrs import frozen

from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import (
    CCProxyError,
    Overloaded,
    QueueFull,
    ShuttingDown,
    ThreadsUnsupported,
)
from ccproxy.web.access import HeaderFields

_VERSION = b"anthropic-version"
_MESSAGES_PATH = re.compile(rb"(?:^|/)messages(?:/|$)")

_OVERLOADED = 529
_INTERNAL = 500
_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}


def openai_error(error: CCProxyError) -> bytes:
    """Encode ``{"error": {"message", "type", "param", "code"}}``, always all fields."""
    fields = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return encode_json({"error": fields})


def socket_error(error: CCProxyError) -> bytes:
    """Encode an error as a message of a WebSocket, in OpenAI's format."""
    fields = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
    return encode_json({"type": "error", "status": error.status, "error": fields})


def anthropic_error(error: CCProxyError, request_id: str) -> bytes:
    """Encode ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""
    status = anthropic_status(error)
    default = "api_error" if status >= _INTERNAL else "invalid_request_error"
    fields: dict[str, object] = {
        "type": _ANTHROPIC_TYPES.get(status, default),
        "message": error.message,
    }
    if isinstance(error, ThreadsUnsupported):
        # With these details, the SDK repeats the request with the whole conversation.
        fields["details"] = {"error_code": error.code, "unsupported": ["thread"]}
    return encode_json({"type": "error", "error": fields, "request_id": request_id})


def anthropic_status(error: CCProxyError | type[CCProxyError]) -> int:
    """The HTTP status of an error, or of a class of errors, in Anthropic's format."""
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, Overloaded | QueueFull | ShuttingDown):
        return _OVERLOADED
    return error.status


@frozen
class ErrorFormat:
    """The error format of one API.

    Attributes:
        status: the HTTP status of an error.
        document: the body, made from the error and the request's id.
        id_header: the API's own header for the request's id, which is sent besides
            ``x-request-id``; None: the API has no such header.
    """

    status: Callable[[CCProxyError | type[CCProxyError]], int]
    document: Callable[[CCProxyError, str], bytes]
    id_header: str | None = None


OPENAI = ErrorFormat(lambda error: error.status, lambda error, _: openai_error(error))
ANTHROPIC = ErrorFormat(anthropic_status, anthropic_error, "request-id")


def is_anthropic(headers: HeaderFields) -> bool:
    """Whether a request has the header ``anthropic-version``."""
    return bool(headers.getRawHeaders(_VERSION, []))


def format_of(target: bytes, headers: HeaderFields) -> ErrorFormat:
    """The error format for a request.

    Args:
        target: the request's path, with or without the query.
        headers: the request's headers.
    """
    if is_anthropic(headers) or _MESSAGES_PATH.search(target.partition(b"?")[0]):
        return ANTHROPIC
    return OPENAI
