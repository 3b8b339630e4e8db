r"""Translates JavaScript's regular expressions, as in JSON Schemas, to Python's. Pure.

Named groups and Unicode's general categories are translated. Python has no scripts and
other properties of characters (``\p{Script=Greek}``).
"""

import re
import sys
import unicodedata
from functools import cache
from itertools import chain

_PROPERTY = r"\\([pP])\{(?:gc=|General_Category=)?([A-Z][a-z]?)\}"
# An escape, or a class, is matched as a whole.
_DIFFERENT = re.compile(
    rf"{_PROPERTY}|\\k<(\w+)>|\\.|(\[(?:\\.|[^\]\\])*\])|\(\?<(?=[A-Za-z_])", re.DOTALL
)
_IN_CLASS = re.compile(rf"{_PROPERTY}|\\.", re.DOTALL)
# No characters are assigned in the planes between.
_ASSIGNED = (range(0x40000), range(0xE0000, sys.maxunicode + 1))


def python_pattern(pattern: str) -> str:
    """Translate a regular expression of JavaScript to Python.

    Cost: 50 ms for the first category in a process, 1 to 5 ms for each further one.
    """

    def in_class(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        return _characters(found[2], found[1] == "P")

    def translate(found: re.Match[str]) -> str:
        if found[1] is not None:
            return f"[{_characters(found[2], found[1] == 'P')}]"
        if found[3] is not None:
            return f"(?P={found[3]})"
        if found[4] is not None:
            return _IN_CLASS.sub(in_class, found[4])
        return "(?P<" if found[0] == "(?<" else found[0]

    return _DIFFERENT.sub(translate, pattern)


def _characters(category: str, is_negated: bool) -> str:
    """The characters of a category, or all others, for use in a class.

    An unknown category has no characters, and an empty class does not compile.
    """
    text = ""
    is_in = False
    for start, its in (*_starts(), (sys.maxunicode + 1, "")):
        is_next = its != "" and its.startswith(category) != is_negated
        if is_next and not is_in:
            text += f"\\U{start:08x}-"
        elif is_in and not is_next:
            text += f"\\U{start - 1:08x}"
        is_in = is_next
    return text


@cache
def _starts() -> list[tuple[int, str]]:
    """Each first character of a range of one category, with the category."""
    found = []
    last = ""
    for code in chain(*_ASSIGNED):
        category = unicodedata.category(chr(code))
        if category != last:
            found.append((code, category))
            last = category
    return found
