"""Scans of JSON texts."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.core.json_text import (
    has_more_values,
    outside_strings,
    with_short_strings,
)

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TEXTS = st.text(alphabet='a"\\,[{é\ud83d', max_size=6)
_VALUES = st.recursive(
    st.none() | st.integers() | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4)
    ),
)


def count(value: Any) -> int:
    """The values in a value, itself included; what is empty counts twice."""
    match value:
        case dict() | list() if not value:
            return 2
        case dict():
            return 1 + sum(map(count, value.values()))
        case list():
            return 1 + sum(map(count, value))
    return 1


@given(_VALUES)
def test_strings_are_left_out(value: Any) -> None:
    text = json.dumps(value).encode()
    assert outside_strings(text) == _STRING.sub(b"", text)


@given(_VALUES)
def test_values_are_counted_outside_of_strings(value: Any) -> None:
    text = json.dumps(value).encode()
    assert not has_more_values(text, count(value))
    if count(value) > 1:
        assert has_more_values(text, count(value) - 1)


@given(_VALUES)
def test_long_strings_are_replaced(value: Any) -> None:
    text = json.dumps(value).encode()
    replaced = _STRING.sub(lambda m: m[0] if len(m[0]) <= 5 else b'"long"', text)
    assert with_short_strings(text, 5, lambda _: b'"long"') == replaced


def test_strings_without_an_end() -> None:
    for text in (b'{"a', b'["a\\', b'"\\"', b'"', b'["a", "'):
        outside_strings(text)
        assert with_short_strings(text, 100, lambda s: s) == text


def test_string_longer_than_a_step() -> None:
    text = b'["%b", 1]' % (rb"\n" * 200_000)
    assert outside_strings(text) == b"[, 1]"
