"""Scans of long JSON texts, in steps that are short. Pure.

A single call of a regular expression or of a decoder keeps every other thread waiting,
however long it takes. Each call here reads a bounded part of the text, except for runs
without quotes and backslashes, which are read at the speed of memory.
"""

import re
from collections.abc import Callable, Iterator

# Content of a string, up to a quote or the end. Possessive: read once.
_CONTENT = re.compile(rb'(?:[^"\\]++|\\.){1,65536}+', re.DOTALL)
_SEPARATORS = (b",", b"[", b"{")
_QUOTE = b'"'


def _pieces(json: bytes) -> Iterator[tuple[int, int, int]]:
    """The text before a string, and the string: its begin and end."""
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
    """A JSON text in which each long string is replaced.

    Args:
        json: the text.
        most_bytes: longer strings are replaced.
        stand_in: makes the JSON string that takes the place of one with these quotes.
    """
    kept = bytearray()
    for place, begin, end in _pieces(json):
        kept += json[place:begin]
        text = json[begin:end]
        kept += text if len(text) <= most_bytes else stand_in(text)
    return bytes(kept)


def has_more_values(json: bytes, most: int) -> bool:
    """Whether a JSON text has more values than a limit; all values inside count.

    Empty lists and objects may count twice.

    Args:
        json: the text; if it is no JSON, the result is about its separators.
        most: the limit.
    """
    # With those within strings: nearly always few enough.
    if 1 + sum(map(json.count, _SEPARATORS)) <= most:
        return False
    count = 1
    for place, begin, _ in _pieces(json):
        if begin > place:
            count += sum(json.count(each, place, begin) for each in _SEPARATORS)
            if count > most:
                return True
    return False
