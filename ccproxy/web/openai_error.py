"""OpenAI's error document, which every failure is told by."""

from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError


def socket_error(error: CCProxyError) -> bytes:
    """Encode an error as a message of its own.

    Source: ``WebSocketErrorEvent`` in the Open Responses document.
    """
    about = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
    return encode_json({"type": "error", "status": error.status, "error": about})


def error_document(error: CCProxyError) -> bytes:
    """Encode ``{"error": {"message", "type", "param", "code"}}``, all four always.

    Source: ``ErrorResponse`` in OpenAI's document.
    """
    return encode_json(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )
