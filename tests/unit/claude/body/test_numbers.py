"""Names that an object has twice."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.claude.body.numbers import _large_repeats_a_name, _repeats_a_name

_NAMES = st.sampled_from(["a", "b", '"', "é", "{", "\\", "a:"])


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
    assert _large_repeats_a_name(raw) == _repeats_a_name(raw)


def test_an_escaped_name_is_the_same_name() -> None:
    assert _large_repeats_a_name(rb'{"\u0061": 1, "a": 2}')
    assert _large_repeats_a_name('{"\\u00e9": 1, "é": 2}'.encode())
    assert not _large_repeats_a_name(rb'{"\ud83d\ude00": {"a": 1}, "a": "a"}')
