"""Encodes JSON that every reader of event streams can parse. Pure."""

import msgspec

# Some readers split lines at every line end of Unicode, as Python's str.splitlines
# does. In JSON these characters may be escaped.
_LINE_ENDS = {
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
    "\x85".encode(): rb"\u0085",
}

_encode = msgspec.json.Encoder().encode


def encode_json(value: object) -> bytes:
    """Encode a value as JSON without any of Unicode's line ends."""
    encoded = _encode(value)
    if encoded.isascii():
        return encoded
    for character, escaped in _LINE_ENDS.items():
        if character in encoded:
            encoded = encoded.replace(character, escaped)
    return encoded
