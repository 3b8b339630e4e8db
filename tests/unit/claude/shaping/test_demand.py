"""Required calls that the model was asked for in a text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.shaping.demand import DemandShaper
from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.stream import (
    Failed,
    Restarted,
    TextDelta,
    UpstreamRetry,
)
from tests.unit.claude.shaping.answers import Asked, answer, run, saying

CALL = ("look", {"path": "a"})
_CHUNKS = st.integers(1, 9)


def _shaper(asked: Asked | None = None) -> DemandShaper:
    return DemandShaper(["look"], asked or Asked())


@given(_CHUNKS, st.integers(1, 5))
def test_text_before_the_required_call_is_left_out(chunk: int, size: int) -> None:
    asked = Asked()
    told = answer(..., "I look.", CALL, CALL, size=size)
    client = run(_shaper(asked), told, chunk=chunk)
    assert client.kinds == ["thinking", "tool_use", "tool_use"]
    assert client.stop_reason == "tool_use"
    assert asked.words == []


def test_another_call_before_the_required_call_is_kept() -> None:
    other: Any = ("other", {})
    client = run(_shaper(), answer("I look.", other, "And there.", CALL, "Done."))
    assert client.kinds == ["tool_use", "tool_use", "text"]
    assert client.text == "Done."


def test_text_before_the_call_is_held_back() -> None:
    shaper = _shaper()
    passed = shaper.filter(saying(..., "I look."))
    assert not [event for event in passed if isinstance(event, TextDelta)]


@given(_CHUNKS)
def test_after_prose_the_model_is_asked_for_the_call(chunk: int) -> None:
    asked = Asked()
    second = answer(..., "All right.", CALL)
    client = run(_shaper(asked), answer(..., "No."), second, chunk=chunk)
    assert client.kinds == ["thinking", "thinking", "tool_use"]
    assert client.restarts == 0
    assert asked.words == [
        "Your next answer has to be a call of the tool `look`. Make the call now."
    ]
    assert [block.type for block in asked.said[0]] == ["thinking", "text"]


@given(_CHUNKS)
def test_the_first_prose_is_the_answer_if_no_call_comes(chunk: int) -> None:
    client = run(_shaper(), answer("No."), answer("Never."), chunk=chunk)
    assert client.text == "No."
    assert client.stop_reason == "end_turn"


def test_an_empty_answer_is_asked_again_too() -> None:
    client = run(_shaper(), answer(), answer(CALL))
    assert client.kinds == ["tool_use"]
    client = run(_shaper(), answer(), answer("Never."))
    assert client.text == "Never."


def test_the_answer_is_passed_on_if_the_text_has_no_place() -> None:
    asked = Asked(has_room=False)
    client = run(_shaper(asked), answer(..., "No."))
    assert client.text == "No."


@pytest.mark.parametrize("end", ["max_tokens", "refusal"])
def test_a_cut_answer_is_passed_on(end: str) -> None:
    asked = Asked()
    client = run(_shaper(asked), answer("I loo", end=end))
    assert client.text == "I loo"
    assert client.stop_reason == end
    assert asked.words == []


def test_another_call_does_not_satisfy_the_requirement() -> None:
    asked = Asked()
    other: Any = ("other", {})
    client = run(_shaper(asked), answer(other), answer(CALL))
    assert [b.value.name for b in client.builder.blocks] == ["look"]  # type: ignore[union-attr]
    # If it stays the only one, it is the answer.
    client = run(_shaper(), answer("Hm.", other), answer(other))
    assert client.kinds == ["tool_use"]
    assert client.stop_reason == "tool_use"


@given(_CHUNKS)
def test_a_void_message_is_forgotten(chunk: int) -> None:
    cut = [*saying(..., "I lo")[:-1], Restarted()]
    client = run(_shaper(), [*cut, *answer("I look.", CALL)], chunk=chunk)
    assert client.kinds == ["tool_use"]
    assert client.restarts == 1


@pytest.mark.parametrize("told", [("I lo",), (..., "I lo"), (CALL,)])
def test_a_second_answer_may_be_lost_too(told: Any) -> None:
    cut = [*saying(*told)[:-1], Restarted(), *answer(CALL)]
    client = run(_shaper(), answer(..., "No."), cut)
    assert client.kinds[-1] == "tool_use"
    assert client.kinds.count("tool_use") == 1


def test_retries_and_errors_pass() -> None:
    error = Failed(ClaudeFailed("gone"))
    told = [UpstreamRetry("overloaded", 1, 0.5), *saying("I lo")[:3], error]
    shaper = _shaper()
    passed = shaper.filter(told)
    assert passed[0] == told[0]
    assert passed[-1] is error
    assert shaper.pending is None
