"""The value of an answer that is the only property of an object, in pieces."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.shaping.wrapped import ValueDecoder
from tests.support.messages_requests import json_values


def decoded(*pieces: str) -> str:
    decoder = ValueDecoder()
    return "".join(map(decoder.feed, pieces)) + decoder.end()


@given(
    json_values | st.text('ab "\\{}[],:\n'),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.data(),
)
def test_any_value_comes_out_whole(
    value: Any,
    separators: tuple[str, str],
    indent: int | None,
    is_ascii: bool,
    data: st.DataObject,
) -> None:
    def printed(instance: Any) -> str:
        return json.dumps(
            instance, separators=separators, indent=indent, ensure_ascii=is_ascii
        )

    whole = printed({"value": value})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    bounds = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(bounds)]
    found = decoded(*pieces)
    assert json.loads(found) == value
    assert found == found.strip()
    assert found in whole


def test_pieces_of_a_value_come_as_they_arrive() -> None:
    decoder = ValueDecoder()
    pieces = ["{", ' "val', 'ue":', ' ["a', "\\", '"}", ', "{}", " ] ", "}", "x"]
    given = [decoder.feed(piece) for piece in pieces]
    assert given == ["", "", "", '["a', "\\", '"}",', " {}", " ]", "", ""]
    assert decoder.end() == ""


@pytest.mark.parametrize(
    "text", ["[1]", '{"valu": 1}', '{"a": {"value": 1}}', "{}", "{", '{"value"', " "]
)
def test_another_form_comes_as_it_is(text: str) -> None:
    assert decoded(text) == text
    assert decoded(*text) == text


def test_other_properties_are_left_out() -> None:
    assert decoded('{"value": [1, 2], "why": "because"}') == "[1, 2]"
    assert decoded('{"value": 1', ', "why": 2}') == "1"


def test_a_value_that_is_cut_off_stays_so() -> None:
    assert decoded('{"value": {"a": "b') == '{"a": "b'
