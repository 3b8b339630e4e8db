"""Answers with a schema that the provider enforces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.shaping.formatted import FormatShaper
from ccproxy.claude.shaping.shaper import SchemaCheck
from ccproxy.core.errors import SchemaNotSatisfied
from ccproxy.core.stream import Failed
from tests.unit.claude.shaping.answers import Asked, answer, run, saying

SCHEMA = b'{"type":"object"}'


def _shaper(asked: Asked | None = None) -> FormatShaper:
    return FormatShaper(SCHEMA, asked or Asked())


def _only(good: str):  # type: ignore[no-untyped-def]
    def problem(check: SchemaCheck) -> str | None:
        assert check.schema == SCHEMA
        return None if check.instance == good.encode() else "$ is wrong"

    return problem


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_text_is_passed_on_and_then_checked(chunk: int, size: int) -> None:
    told = answer(..., '{"a"', ":1}", size=size)
    client = run(_shaper(), told, chunk=chunk, problem=_only('{"a":1}'))
    assert client.text == '{"a":1}'
    assert client.stop_reason == "end_turn"
    assert client.restarts == 0


def test_the_text_is_not_held_back() -> None:
    events = saying("{")
    assert _shaper().filter(events) == events


def test_a_wrong_answer_is_replaced() -> None:
    asked = Asked()
    client = run(
        _shaper(asked), answer(..., "{}"), answer(..., "{1}"), problem=_only("{1}")
    )
    assert client.text == "{1}"
    assert client.restarts == 1
    assert client.kinds == ["thinking", "text"]
    assert "$ is wrong" in asked.words[0]


def test_a_second_wrong_answer_is_an_error() -> None:
    client = run(_shaper(), answer("{}"), answer("{}"), problem=_only("{1}"))
    end = client.events[-1]
    assert isinstance(end, Failed)
    assert isinstance(end.error, SchemaNotSatisfied)
    assert "$ is wrong" in end.error.message


def test_a_wrong_answer_is_an_error_if_the_text_has_no_place() -> None:
    client = run(_shaper(Asked(has_room=False)), answer("{}"), problem=_only("{1}"))
    assert isinstance(client.events[-1], Failed)


@pytest.mark.parametrize(
    "end", ["max_tokens", "refusal", "model_context_window_exceeded"]
)
def test_a_cut_answer_is_not_checked(end: str) -> None:
    client = run(_shaper(), answer('{"a', end=end), problem=_only("{}"))
    assert client.text == '{"a'
    assert client.stop_reason == end


def test_a_call_is_no_answer() -> None:
    client = run(_shaper(), answer("I look.", ("look", {})), problem=_only("{}"))
    assert client.kinds == ["text", "tool_use"]
