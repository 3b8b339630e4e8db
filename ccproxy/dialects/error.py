"""OpenAI's error document, which every failure is told by."""

from ccproxy.dialects.encoding import encode_json
from ccproxy.errors import CCProxyError


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
