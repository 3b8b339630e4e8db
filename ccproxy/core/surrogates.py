r"""Replaces lone surrogates (halves of surrogate pairs) in JSON text. Pure.

JavaScript can cut a string inside a surrogate pair. ``JSON.stringify`` then writes the
lone surrogate as an escape such as ``\ud83d``, which most JSON parsers refuse. This
module replaces such an escape by U+FFFD.
"""

import re

_HEX = rb"[0-9a-fA-F]"
# JSON text before the next lone surrogate. The quantifiers are possessive, so that the
# regular expression never scans a text twice. One match is limited in length, because
# it holds the GIL.
_WHOLE = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])%b{4}"
    rb"|\\u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}){1,65536}+" % (_HEX, _HEX, _HEX)
)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]%b{2}" % _HEX)
_REPLACEMENT = rb"\ufffd"


def without_halves(json: bytes) -> bytes:
    """Replace each lone surrogate by U+FFFD; returns ``json`` itself if it has none."""
    if b"\\ud" not in json and b"\\uD" not in json:
        return json
    pieces: list[bytes] = []
    place = 0
    begin = 0
    while place < len(json):
        if (whole := _WHOLE.match(json, place)) is not None:
            place = whole.end()
        if (half := _HALF.match(json, place)) is not None:
            pieces += (json[begin:place], _REPLACEMENT)
            begin = place = half.end()
        elif whole is None:
            break  # Invalid JSON: the decoder will report the position.
    return b"".join((*pieces, json[begin:])) if pieces else json
