"""OpenAI's error document, which every failure is told by."""

import msgspec

from ccproxy.errors import CCProxyError


def error_document(error: CCProxyError) -> bytes:
    """Encode ``{"error": {"message", "type", "param", "code"}}``, all four always.

    Source: ``ErrorResponse`` in OpenAI's document.
    """
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )
