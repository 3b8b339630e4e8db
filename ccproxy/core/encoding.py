"""Values to JSON that any reader of event streams can take. Pure."""

import msgspec

# Some readers split lines at whatever Unicode calls a line's end, as Python's
# str.splitlines does; JSON may have these as escapes as well.
_LINE_ENDS = {
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
    "\x85".encode(): rb"\u0085",
}

_encode = msgspec.json.Encoder().encode


def encode_json(value: object) -> bytes:
    """Encode a value as one line of JSON, whoever counts the lines."""
    encoded = _encode(value)
    if encoded.isascii():
        return encoded
    for character, escaped in _LINE_ENDS.items():
        if character in encoded:
            encoded = encoded.replace(character, escaped)
    return encoded
