r"""Halves of surrogate pairs in JSON. Pure.

JavaScript cuts texts between UTF-16 units, and writes half a pair as an escape such as
``\ud83d``. Half a pair is no character: most readers of JSON refuse it. U+FFFD takes
its place.
"""

import re

_HEX = rb"[0-9a-fA-F]"
# JSON text in front of the first half of a surrogate pair. Possessive, so that a long
# text is read once. Limited, because a match keeps every other thread waiting.
_WHOLE = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])%b{4}"
    rb"|\\u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}){1,65536}+" % (_HEX, _HEX, _HEX)
)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]%b{2}" % _HEX)
_REPLACEMENT = rb"\ufffd"


def without_halves(json: bytes) -> bytes:
    """JSON with U+FFFD for each half of a pair; the same object if it has none."""
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
            break  # no JSON: the decoder says where
    return b"".join((*pieces, json[begin:])) if pieces else json
