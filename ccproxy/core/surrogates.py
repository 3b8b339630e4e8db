r"""Halves of surrogate pairs in JSON. Pure.

JavaScript cuts texts between UTF-16 units, and writes half a pair as an escape such as
``\ud83d``. Half a pair is no character: most readers of JSON refuse it. U+FFFD takes
its place.
"""

import re

_HEX = rb"[0-9a-fA-F]"
# JSON text up to the first half of a surrogate pair; and that half. Possessive, so that
# a long text is read once.
_UP_TO_HALF = re.compile(
    rb"((?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])%b{4}"
    rb"|\\u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2})*+)"
    rb"\\u[dD][89a-fA-F]%b{2}" % (_HEX, _HEX, _HEX, _HEX)
)
_REPLACEMENT = rb"\ufffd"


def without_halves(json: bytes) -> bytes:
    """JSON with U+FFFD for each half of a pair; the same object if it has none."""
    if b"\\ud" not in json and b"\\uD" not in json:
        return json
    pieces: list[bytes] = []
    place = 0
    while (match := _UP_TO_HALF.match(json, place)) is not None:
        pieces += (match[1], _REPLACEMENT)
        place = match.end()
    return b"".join((*pieces, json[place:])) if pieces else json
