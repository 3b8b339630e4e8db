"""Makes a JSON object of a tool call's arguments, for the Messages API. Pure.

====================================  =============================================
arguments                             object
====================================  =============================================
the JSON of an object                 that object
a JSON string that holds such JSON    that object: some clients encode twice
``null``, or white space              ``{}``
any other text                        ``{"arguments": "…"}``, with that text
====================================  =============================================

A lone surrogate becomes U+FFFD in each case.

Source: rules 6 and 11 of the Messages API.
"""

import msgspec
from msgspec import Raw

from ccproxy.core.blocks import ToolUse
from ccproxy.core.surrogates import without_halves

NOTHING = Raw(b"{}")
_FIELD = "arguments"

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str | None).decode


def arguments_object(text: str) -> tuple[Raw, bool]:
    """Convert the text of a call's arguments to an object.

    Returns:
        The object, and whether ``text`` was already the JSON of that object.
    """
    given = text.encode()
    body = without_halves(given)
    if _is_object(body):
        return Raw(body.strip()), body is given
    if not text.strip():
        return NOTHING, False
    try:
        inner = _decode_text(body)
    except (msgspec.DecodeError, RecursionError):
        return wrapped(text), False
    if inner is None:
        return NOTHING, False
    body = without_halves(inner.encode())
    return (Raw(body.strip()) if _is_object(body) else wrapped(text)), False


def given_arguments(call: ToolUse) -> str:
    """The arguments that a call's block started with, as JSON; empty: ``{}``.

    In a stream, a call starts with ``{}``, and deltas add its arguments.
    """
    given = bytes(call.input)
    return "" if given == bytes(NOTHING) else given.decode()


def wrapped(value: object) -> Raw:
    """Wrap arguments that are not an object: ``{"arguments": value}``."""
    return Raw(_encode({_FIELD: value}))


def _is_object(body: bytes) -> bool:
    try:
        # Numbers are not decoded: ``1e400`` is valid JSON, but too large for a float.
        _decode_object(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
