"""Reads values for which a request may use one of several names. Pure.

Some clients send the names of one API to another API.
"""

from collections.abc import Mapping
from typing import TypeVar

from ccproxy.core.messages import Adjustments

_T = TypeVar("_T")


def first_given(
    named: Mapping[str, _T | None], adjustments: Adjustments
) -> tuple[_T | None, str]:
    """The first value that is given, and its path.

    Args:
        named: the values by their paths, the API's own name first; None: absent.
        adjustments: records the paths of further values that differ.
    """
    given = {path: value for path, value in named.items() if value is not None}
    if not given:
        return None, next(iter(named))
    chosen, *others = given
    adjustments.ignore(*(path for path in others if given[path] != given[chosen]))
    return given[chosen], chosen


def all_given(named: Mapping[str, str | list[str] | None]) -> Mapping[str, str]:
    """The texts of several fields, each a text or a list of texts, by their paths."""
    found: dict[str, str] = {}
    for name, given in named.items():
        if isinstance(given, str):
            found[name] = given
        else:
            found |= {f"{name}[{n}]": text for n, text in enumerate(given or ())}
    return found
