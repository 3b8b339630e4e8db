"""Answers as the arguments of the answer tool."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.body.result import AnswerTool
from ccproxy.claude.shaping.answer_tool import AnswerToolShaper
from ccproxy.claude.shaping.shaper import SchemaCheck
from ccproxy.core.errors import SchemaNotSatisfied
from ccproxy.core.stream import Failed, Restarted, TextDelta
from tests.unit.claude.shaping.answers import Asked, answer, run, saying

SCHEMA = b'{"type":"object"}'
OURS = "structured_output"
GOOD = (OURS, {"a": 1})
TEXT = json.dumps(GOOD[1])
CALL = ("look", {"path": "a"})
_SIZES = st.integers(1, 9)


def _shaper(
    asked: Asked | None = None, *, schema: bytes | None = SCHEMA
) -> AnswerToolShaper:
    tool = AnswerTool(name=OURS, schema=schema)
    return AnswerToolShaper(tool, asked or Asked(), {"look"})


def _problem(check: SchemaCheck) -> str | None:
    assert check.schema == SCHEMA
    return None if check.instance == TEXT.encode() else "$ is wrong"


def _run(*answers: Any, shaper: AnswerToolShaper | None = None, chunk: int = 1) -> Any:
    return run(shaper or _shaper(), *answers, chunk=chunk, problem=_problem)


@given(_SIZES, _SIZES)
def test_the_arguments_are_the_text(chunk: int, size: int) -> None:
    client = _run(answer(..., GOOD, size=size), chunk=chunk)
    assert client.kinds == ["thinking", "text"]
    assert client.text == TEXT
    assert client.stop_reason == "end_turn"
    assert client.restarts == 0


def test_arguments_are_passed_on_as_they_come() -> None:
    shaper = _shaper()
    told = shaper.filter(saying(GOOD)[:4])
    assert "".join(e.text for e in told if isinstance(e, TextDelta)) == TEXT[:6]


@given(_SIZES, _SIZES)
def test_a_wrapped_answer_is_passed_on_without_the_object(
    chunk: int, size: int
) -> None:
    """Also if the model is asked once more, or gives it in prose."""
    checked: list[Any] = []

    def problem(check: SchemaCheck) -> str | None:
        checked.append(json.loads(check.instance))
        return None if checked[-1] == [1, {"a": "}"}] else "$ is wrong"

    def wrapped() -> AnswerToolShaper:
        tool = AnswerTool(name=OURS, schema=SCHEMA, is_wrapped=True)
        return AnswerToolShaper(tool, Asked(), {"look"})

    good = (OURS, {"value": [1, {"a": "}"}]})
    tries: list[tuple[Any, list[Any]]] = [
        (answer(good, size=size), []),
        (answer((OURS, {"value": 7}), size=size), [7]),
        (answer((OURS, "[7]"), size=size), [[7]]),
        (answer((OURS, ""), size=size), [{}]),
    ]
    for first, seen in tries:
        checked.clear()
        given = [first, answer(good, size=size)] if seen else [first]
        client = run(wrapped(), *given, chunk=chunk, problem=problem)
        assert client.text == '[1, {"a": "}"}]'
        assert checked == [*seen, [1, {"a": "}"}]]
    client = run(wrapped(), answer('[1, {"a": "}"}]'), chunk=chunk, problem=problem)
    assert client.text == '[1, {"a": "}"}]'


@given(_SIZES)
def test_prose_beside_an_answer_is_dropped(chunk: int) -> None:
    client = _run(answer("Here it is:", GOOD, "Good?"), chunk=chunk)
    assert client.kinds == ["text"]
    assert client.text == TEXT


def test_an_answer_without_arguments_is_an_empty_object() -> None:
    client = _run(answer((OURS, "")), shaper=_shaper(schema=None))
    assert client.text == "{}"


@given(_SIZES)
def test_a_call_of_a_clients_tool_voids_the_answer(chunk: int) -> None:
    for blocks in (
        [..., "I look.", GOOD, CALL],
        [..., "I look.", CALL, GOOD],
        [..., "I look.", CALL],
    ):
        client = _run(answer(*blocks), chunk=chunk)
        assert client.kinds == ["thinking", "text", "tool_use"]
        assert client.text == "I look."
        assert client.stop_reason == "tool_use"


@given(_SIZES)
def test_of_two_answers_the_second_counts(chunk: int) -> None:
    client = _run(answer(..., (OURS, {"b": 2}), GOOD), chunk=chunk)
    assert client.kinds == ["thinking", "text"]
    assert client.text == TEXT
    assert client.restarts == 1


def test_a_call_of_an_unknown_tool_is_dropped() -> None:
    client = _run(answer(("gone", {}), GOOD))
    assert client.kinds == ["text"]
    asked = Asked()
    client = _run(answer(("gone", {})), answer(GOOD), shaper=_shaper(asked))
    assert client.text == TEXT
    assert asked.said[0][0].type == "tool_use"


@given(_SIZES)
def test_a_wrong_answer_is_replaced(chunk: int) -> None:
    asked = Asked()
    client = _run(
        answer(..., (OURS, {})),
        answer(..., GOOD),
        shaper=_shaper(asked),
        chunk=chunk,
    )
    assert client.text == TEXT
    assert client.kinds == ["thinking", "text"]
    assert client.restarts == 1
    assert "$ is wrong" in asked.words[0]
    assert [b.type for b in asked.said[0]] == ["thinking", "tool_use"]


def test_a_second_wrong_answer_is_an_error() -> None:
    seconds: list[Any] = [(OURS, {}), "Never."]
    for second in seconds:
        client = _run(answer((OURS, {})), answer(second))
        end = client.events[-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, SchemaNotSatisfied)


@given(_SIZES)
def test_after_prose_the_model_is_asked_for_the_answer(chunk: int) -> None:
    asked = Asked()
    client = _run(
        answer(..., "It is one."),
        answer(..., GOOD),
        shaper=_shaper(asked),
        chunk=chunk,
    )
    assert client.text == TEXT
    # Nothing of the first text was told, so nothing is taken back.
    assert client.restarts == 0
    assert client.kinds == ["thinking", "thinking", "text"]
    assert f"`{OURS}`" in asked.words[0]


def test_prose_that_satisfies_the_schema_is_the_answer() -> None:
    client = _run(answer(..., TEXT))
    assert client.kinds == ["thinking", "text"]
    assert client.text == TEXT
    for text, is_object in [(TEXT, True), ("[1]", False), ("", False)]:
        shaper = _shaper(Asked(has_room=False), schema=None)
        client = _run(answer(text), shaper=shaper)
        assert isinstance(client.events[-1], Failed) is not is_object


@pytest.mark.parametrize("end", ["max_tokens", "refusal"])
def test_a_cut_answer_is_not_checked(end: str) -> None:
    client = _run(answer("Here:", (OURS, '{"a": '), end=end))
    assert client.text == '{"a": '
    assert client.stop_reason == end
    client = _run(answer("Here is", end=end))
    assert client.text == "Here is"
    assert client.stop_reason == end


def test_a_stop_sequence_is_passed_on() -> None:
    client = _run(answer(TEXT, end="stop_sequence"))
    assert client.stop_reason == "stop_sequence"


@given(_SIZES)
def test_a_void_message_is_forgotten(chunk: int) -> None:
    for lost in ([..., GOOD], ["Her"], [...], [CALL]):
        cut = [*saying(*lost)[:-1], Restarted()]
        client = _run([*cut, *answer(..., GOOD)], chunk=chunk)
        assert client.text == TEXT
        assert client.kinds == ["thinking", "text"]
        assert client.restarts == 1
