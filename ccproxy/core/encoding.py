"""Encodes JSON that every reader of event streams can parse. Pure."""

import msgspec

# Some readers split lines at every line end of Unicode, as Python's str.splitlines
# does. In JSON these characters may be escaped.
_LINE_ENDS = {
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
    "\x85".encode(): rb"\u0085",
}
# Stands for a text that is filled in later. No JSON has a NUL in it.
_NUL = b"\0"
TEXT = msgspec.Raw(_NUL)

_encode = msgspec.json.Encoder().encode


def encode_json(value: object) -> bytes:
    """Encode a value as one line of JSON, whatever a reader takes for a line's end."""
    encoded = _encode(value)
    # Only between tokens: of JSON that a client wrote on many lines and that is
    # repeated as it came.
    if b"\n" in encoded or b"\r" in encoded:
        encoded = encoded.replace(b"\n", b" ").replace(b"\r", b" ")
    if encoded.isascii():
        return encoded
    for character, escaped in _LINE_ENDS.items():
        if character in encoded:
            encoded = encoded.replace(character, escaped)
    return encoded


def halves_around_text(value: object) -> tuple[bytes, bytes]:
    """The JSON before and behind the one text of a value that changes.

    Deltas repeat all but their text, so the rest of them is encoded once.

    Args:
        value: has `TEXT` where the text goes.
    """
    head, _, tail = encode_json(value).partition(_NUL)
    return head, tail
