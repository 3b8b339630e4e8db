"""Anthropic's error document, and the statuses and types that belong to it. Pure.

Source: "Errors" in the Messages API's documentation; ``ErrorResponse`` and the
exceptions of anthropic-python 2.14.
"""

from collections.abc import Mapping

from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import (
    CCProxyError,
    Overloaded,
    QueueFull,
    ShuttingDown,
    ThreadsUnsupported,
)

_OVERLOADED = 529
_INTERNAL = 500
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    501: "not_found_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}


def anthropic_status(error: CCProxyError | type[CCProxyError]) -> int:
    """The HTTP status that Anthropic's clients expect of an error, or of its kind."""
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, Overloaded | QueueFull | ShuttingDown):
        return _OVERLOADED
    return error.status


def anthropic_error(error: CCProxyError, request_id: str) -> bytes:
    """Encode ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""
    status = anthropic_status(error)
    otherwise = "api_error" if status >= _INTERNAL else "invalid_request_error"
    told: dict[str, object] = {
        "type": _TYPES.get(status, otherwise),
        "message": error.message,
    }
    if isinstance(error, ThreadsUnsupported):
        # By this their SDK knows that it has to send the whole conversation.
        told["details"] = {"error_code": error.code, "unsupported": ["thread"]}
    return encode_json({"type": "error", "error": told, "request_id": request_id})
