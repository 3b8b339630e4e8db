"""Decodes data URLs and base64 in the forms that clients send. Pure.

Source: RFC 2397; RFC 4648, with its alphabet for URLs.
"""

import re
from base64 import b64decode, b64encode
from urllib.parse import unquote_to_bytes

from attrs import frozen

# Everything before the data. The quantifiers are possessive, so that no character is
# scanned twice.
_HEAD_OF_URL = re.compile(
    r"\s*+data:(?P<type>[^;,]*+)(?P<parameters>(?:;(?:\"[^\"]*+\"|[^;,\"])*+)*+),",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\s*+[a-z][a-z0-9+.-]*+:", re.IGNORECASE)
# A regular expression holds the GIL until it returns, so it reads only this many
# characters. No client needs a longer head: the longest part is the name of a file.
_LONGEST_HEAD = 4096
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FROM_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\v\f"
_MOST_PADDING = 2
# The number of base64 characters that `head` decodes.
_HEAD = 64
# The number of characters that are decoded in one step.
_SLICE = 2**16
_ESCAPE = 3


@frozen
class DataURL:
    """A data URL.

    Attributes:
        media_type: the declared media type in lower case; empty: none is declared.
        charset: the declared charset in lower case; empty: none is declared.
        data: the data in base64.
    """

    media_type: str
    charset: str
    data: bytes


def read_data_url(url: str) -> DataURL | None:
    """Parse a data URL; None: it is not a data URL, or its base64 is invalid."""
    match = _HEAD_OF_URL.match(url, 0, _LONGEST_HEAD)
    if match is None:
        return None
    text = url[match.end() :].encode()
    parameters = [p.strip().lower() for p in match["parameters"].split(";")]
    charset = next((p[8:] for p in parameters if p.startswith("charset=")), "")
    if "base64" in parameters:
        data = standard_base64(text)
    else:
        data = b64encode(_unquoted(text))
    if data is None:
        return None
    return DataURL(match["type"].strip().lower(), charset.strip('"'), data)


def standard_base64(text: bytes) -> bytes | None:
    """Convert base64 to the standard alphabet, with padding, without white space.

    Args:
        text: base64, which may use the alphabet for URLs, lack padding, and contain
            white space or ``%`` escapes.

    Returns:
        The same object if nothing changes; None: the text is not base64.

    Cost: a millisecond or two for each megabyte.
    """
    rest = text.translate(None, _ALPHABET)
    is_padding = rest == b"=" * len(rest) and len(rest) <= _MOST_PADDING
    if is_padding and text.endswith(rest) and len(text) % 4 == 0:
        return text
    if b"%" in rest:
        text = _unquoted(text)
    text = text.translate(_FROM_URL_ALPHABET, _BLANKS).rstrip(b"=")
    if text.translate(None, _ALPHABET) or len(text) % 4 == 1:
        return None
    return text + b"=" * (-len(text) % 4)


def _unquoted(text: bytes) -> bytes:
    """Decode ``%`` escapes in short steps."""
    decoded = bytearray()
    place = 0
    while place < len(text):
        end = place + _SLICE
        # No escape is cut in two.
        escape = text.rfind(b"%", end - _ESCAPE + 1, end)
        end = escape if escape >= 0 else end
        decoded += unquote_to_bytes(text[place:end])
        place = end
    return bytes(decoded)


def has_scheme(url: str) -> bool:
    """Whether a URL begins with a scheme, such as ``data:``."""
    return _SCHEME.match(url, 0, _LONGEST_HEAD) is not None


def head(data: bytes) -> bytes:
    """The first bytes of data in standard base64."""
    return b64decode(data[:_HEAD])
