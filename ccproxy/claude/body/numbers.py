"""Finds JSON that the CLI changes when it decodes and encodes a body. Pure.

The CLI is JavaScript: an integer over 2^53 is rounded, ``1.0`` becomes ``1``, ``-0.0``
becomes ``0``, ``1e400`` becomes ``null``. Of two fields with the same name in one
object, the last stays. Fields whose names are whole numbers come first, in ascending
order.

Source: docs/claude-cli-protocol.md, "Body mode".
"""

import json
import re
from hashlib import sha256

from ccproxy.core.backend import LARGE_BYTES
from ccproxy.core.json_text import outside_strings, with_short_strings

# A string, with a colon after it if it is a name; or a brace.
_TOKEN = re.compile(rb'("(?:[^"\\]++|\\.)*+")([ \t\r\n]*:)?|[{}]', re.DOTALL)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# JSON without a match has no number that the CLI changes.
_SUSPECT = re.compile(rb"\d{16}|\d[eE.]|-0")
# Of a longer number, the first 400 digits match, which always count as changed.
_NUMBER = re.compile(rb"-?\d{1,400}(?:\.\d{1,400})?(?:[eE][+-]?\d{1,400})?")
_LARGEST_INTEGER = 2**53
# A name that JavaScript takes for a list index: at most `_LARGEST_INDEX`.
_INDEX = re.compile(rb"0|[1-9][0-9]{0,9}")
_LARGEST_INDEX = 2**32 - 2
_DIGITS = 20
# Slices overlap by the length of the longest match, so that no match is missed.
_LONGEST_MATCH = 16
_SLICE_BYTES = 2**16
_LONG_STRING = 2**12


def is_reprinted(raw: bytes) -> bool:
    """Whether a JSON text contains something that the CLI changes.

    Cost: tens of milliseconds per megabyte; hundreds if it has many short strings.
    """
    is_large = len(raw) > LARGE_BYTES
    bare = outside_strings(raw) if is_large else _STRING.sub(b"", raw)
    if _has_suspect(bare) and any(
        _as_printed(match[0]) != match[0].decode() for match in _NUMBER.finditer(bare)
    ):
        return True
    if is_large:
        # Python's JSON decoder is slow if a string has many escapes.
        return _large_has_changed_names(with_short_strings(raw, _LONG_STRING, _digest))
    return _has_changed_names(raw)


def _has_suspect(bare: bytes) -> bool:
    return any(
        _SUSPECT.search(bare, begin, begin + _SLICE_BYTES + _LONGEST_MATCH) is not None
        for begin in range(0, len(bare), _SLICE_BYTES)
    )


def _digest(string: bytes) -> bytes:
    return b'"%b"' % sha256(string).hexdigest().encode()


class _ChangedNames(Exception):
    """The fields of an object become fewer, or get another order."""


class _Names:
    """The names of an object's fields so far."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._next_index = 0

    def add(self, name: bytes) -> bool:
        """Whether JavaScript removes or moves a field because of this name."""
        is_repeated = name in self._seen
        self._seen.add(name)
        if not _INDEX.fullmatch(name) or int(name) > _LARGEST_INDEX:
            # A list index after this name would be moved before it.
            self._next_index = _LARGEST_INDEX + 1
            return is_repeated
        is_moved = int(name) < self._next_index
        self._next_index = int(name) + 1
        return is_repeated or is_moved


def _has_changed_names(raw: bytes) -> bool:
    try:
        json.loads(raw, object_pairs_hook=_check_names)
    except _ChangedNames:
        return True
    except (ValueError, RecursionError):
        # The decoders refuse such JSON, with an error that names the field.
        return False
    return False


def _large_has_changed_names(raw: bytes) -> bool:
    """The same in short steps: Python's decoder reads an object in one call."""
    objects: list[_Names] = []
    for token in _TOKEN.finditer(raw):
        match token[0][:1]:
            case b"{":
                objects.append(_Names())
            case b"}" if objects:
                objects.pop()
            case b'"' if token[2] is not None and objects:
                name = token[1][1:-1]
                if b"\\" in name:
                    name = json.loads(token[1]).encode("utf-8", "surrogatepass")
                if objects[-1].add(name):
                    return True
    return False


def _check_names(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _ChangedNames
    if any(name[:1].isdecimal() for name, _ in pairs):
        names = _Names()
        if any(names.add(name.encode("utf-8", "surrogatepass")) for name, _ in pairs):
            raise _ChangedNames


def _as_printed(number: bytes) -> str:
    """A number as JavaScript prints it; ``rounded`` for a changed integer."""
    text = number.decode()
    if text.lstrip("-").isdigit():
        is_exact = len(text) < _DIGITS and abs(int(text)) <= _LARGEST_INTEGER
        # JavaScript rounds larger integers.
        return str(int(text)) if is_exact else "rounded"
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return "null"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return _shortest(value)


def _shortest(value: float) -> str:
    printed = repr(value)
    mantissa, exponent, power = printed.partition("e")
    if not exponent:
        return printed
    sign, digits = power[0], power[1:].lstrip("0")
    if sign == "-" and int(digits) < 7:
        # JavaScript prints such a number in full; Python prints it with an exponent.
        places = int(digits) + len(mantissa.lstrip("-").replace(".", "")) - 1
        return f"{value:.{places}f}"
    return f"{mantissa}e{sign}{digits}"
