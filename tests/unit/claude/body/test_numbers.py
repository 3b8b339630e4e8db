"""Names that an object has twice, or that JavaScript puts first."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.claude.body.numbers import (
    _has_changed_names,
    _large_has_changed_names,
    is_reprinted,
)

_NAMES = st.sampled_from(["a", "b", '"', "é", "{", "\\", "a:", "0", "10", "2"])


def _objects(inner: Any) -> Any:
    """JSON objects as lists of pairs, so that names may repeat."""
    return st.lists(st.tuples(_NAMES, inner), max_size=3).map(tuple)


_VALUES = st.recursive(
    st.sampled_from([1, "a", '{"', None, "}:"]),
    lambda inner: st.lists(inner, max_size=3) | _objects(inner),
    max_leaves=8,
)


def _written(value: Any, spaced: bool, ascii_only: bool) -> str:
    colon = " : " if spaced else ":"
    match value:
        case tuple(pairs):
            inner = ", ".join(
                json.dumps(name, ensure_ascii=ascii_only)
                + colon
                + _written(each, spaced, ascii_only)
                for name, each in pairs
            )
            return "{" + inner + "}"
        case list(values):
            return f"[{', '.join(_written(v, spaced, ascii_only) for v in values)}]"
    return json.dumps(value)


@given(_VALUES, st.booleans(), st.booleans())
@example((("a", 1), ("a", 2)), False, True)
def test_large_json_is_read_as_small_json(
    value: Any, spaced: bool, ascii_only: bool
) -> None:
    raw = _written(value, spaced, ascii_only).encode()
    assert _large_has_changed_names(raw) == _has_changed_names(raw)


def test_an_escaped_name_is_the_same_name() -> None:
    assert _large_has_changed_names(rb'{"\u0061": 1, "a": 2}')
    assert _large_has_changed_names('{"\\u00e9": 1, "é": 2}'.encode())
    assert not _large_has_changed_names(rb'{"\ud83d\ude00": {"a": 1}, "a": "a"}')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"b": 1, "1": 2}',
        b'{"2": 1, "1": 2}',
        b'{"10": 1, "9": 2}',
        b'{"": 1, "0": 2}',
        rb'{"a": [{"b": {"c": 1, "\u0031": 2}}]}',
        b'{"a": 1, "4294967294": 2}',
    ],
)
def test_names_that_javascript_puts_first(raw: bytes) -> None:
    assert is_reprinted(raw)
    assert _large_has_changed_names(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"0": 1, "1": 2, "10": 3, "a": 4}',
        b'{"a": 1, "01": 2, "1a": 3, "-1": 4, "1.5": 5, " 1": 6}',
        b'{"a": 1, "4294967295": 2, "99999999999": 3}',
        '{"a": 1, "\u0663": 2}'.encode(),
        b'{"b": {"1": 1}, "a": {"0": "1"}}',
    ],
)
def test_names_that_stay_where_they_are(raw: bytes) -> None:
    assert not is_reprinted(raw)
    assert not _large_has_changed_names(raw)
