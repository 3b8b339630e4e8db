"""Scans long JSON texts in short steps. Pure.

A single call of a regular expression or of a decoder holds the GIL until it returns.
Each call in this module reads a limited part of the text. The exception is a run
without quotes and backslashes, which is read at memory speed.
"""

import re
from collections.abc import Callable, Iterator

# The content of a string, up to a quote or the end. The quantifiers are possessive, so
# that no byte is scanned twice.
_CONTENT = re.compile(rb'(?:[^"\\]++|\\.){1,65536}+', re.DOTALL)
_SEPARATORS = (b",", b"[", b"{")
_QUOTE = b'"'


def _pieces(json: bytes) -> Iterator[tuple[int, int, int]]:
    """For each string: the start of the text before it, its own start, and its end."""
    place, length = 0, len(json)
    while place < length:
        begin = json.find(_QUOTE, place)
        if begin < 0:
            yield place, length, length
            return
        end = begin + 1
        while (content := _CONTENT.match(json, end)) is not None:
            end = content.end()
        yield place, begin, min(end + 1, length)
        place = end + 1


def outside_strings(json: bytes) -> bytes:
    """A JSON text without its strings."""
    kept = bytearray()
    for place, begin, _ in _pieces(json):
        kept += json[place:begin]
    return bytes(kept)


def with_short_strings(
    json: bytes, most_bytes: int, stand_in: Callable[[bytes], bytes]
) -> bytes:
    """Replace the long strings of a JSON text.

    Args:
        json: the text.
        most_bytes: the largest size of a string that is not replaced.
        stand_in: makes the JSON string that replaces a JSON string.
    """
    kept = bytearray()
    for place, begin, end in _pieces(json):
        kept += json[place:begin]
        text = json[begin:end]
        kept += text if len(text) <= most_bytes else stand_in(text)
    return bytes(kept)


def has_more_values(json: bytes, most: int) -> bool:
    """Whether a JSON text has more than ``most`` values, nested values included.

    The values are counted by the separators outside strings. Empty lists and objects
    may count twice.

    Args:
        json: the text; it may be invalid.
        most: the limit.
    """
    # Nearly always, even the separators within strings do not exceed the limit.
    if 1 + sum(map(json.count, _SEPARATORS)) <= most:
        return False
    count = 1
    for place, begin, _ in _pieces(json):
        if begin > place:
            count += sum(json.count(each, place, begin) for each in _SEPARATORS)
            if count > most:
                return True
    return False
