"""Finds numbers that the CLI changes when it decodes and encodes the body. Pure.

The CLI is JavaScript: an integer over 2^53 is rounded, ``1.0`` becomes ``1``, ``-0.0``
becomes ``0``, ``1e400`` becomes ``null``.

Source: docs/claude-cli-protocol.md, "Body mode".
"""

import re

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# A text without a match has no such number.
_SUSPECT = re.compile(rb"\d{16}|\d[eE.]|-0")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LARGEST_INTEGER = 2**53
_DIGITS = 20


def is_reprinted(raw: bytes) -> bool:
    """Whether a JSON text contains a number that the CLI changes.

    Cost: one scan, some milliseconds a megabyte.
    """
    bare = _STRING.sub(b"", raw)
    if _SUSPECT.search(bare) is None:
        return False
    return any(_as_printed(n) != n.decode() for n in _NUMBER.findall(bare))


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
        # Python prints exponents for numbers that JavaScript prints without.
        places = int(digits) + len(mantissa.lstrip("-").replace(".", "")) - 1
        return f"{value:.{places}f}"
    return f"{mantissa}e{sign}{digits}"
