"""Required calls: as ``tool_choice``, or as a text."""

import json
from typing import Any

import pytest

from ccproxy.claude.body.compose import Composition
from ccproxy.core.errors import InvalidRequest
from tests.support.composed import (
    HAIKU_4_5,
    OPUS,
    assistant,
    body_of,
    call,
    composed,
    request,
    result,
    system,
    text,
    tool,
    user,
)

ANY: dict[str, Any] = {"type": "any"}
OFF = {"type": "disabled"}
OPUS_5, OPUS_4_8 = "claude-opus-5", "claude-opus-4-8"
WORDS = "Your next answer has to be a call of the tool `look`. Do not answer in prose."


def _ask(
    choice: Any,
    model_id: str = OPUS,
    messages: Any = "hi",
    tools: Any = None,
    options: Any = None,
    **fields: Any,
) -> Composition:
    tools = [tool()] if tools is None else tools
    asked = request(messages, tool_choice=choice, tools=tools, **fields)
    return composed(asked, model_id, **(options or {}))


def _last(composition: Composition) -> Any:
    return body_of(composition)["messages"][-1]


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "auto"},
        {"type": "none"},
        {"type": "auto", "disable_parallel_tool_use": True},
        {"type": "auto", "disable_parallel_tool_use": False},
    ],
)
def test_a_choice_without_required_call_is_sent_unchanged(choice: Any) -> None:
    composition = _ask(choice)
    assert body_of(composition)["tool_choice"] == choice
    assert len(body_of(composition)["tools"]) == 1
    assert composition.plan.is_empty
    assert composition.is_remembered


def test_disable_parallel_tool_use_is_not_sent_with_none() -> None:
    composition = _ask({"type": "none", "disable_parallel_tool_use": True})
    assert body_of(composition)["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize("choice", [ANY, {"type": "tool", "name": "look"}])
@pytest.mark.parametrize("model_id", [OPUS_5, OPUS_4_8, HAIKU_4_5])
def test_a_required_call_is_sent_where_the_model_does_not_think(
    choice: Any, model_id: str
) -> None:
    composition = _ask(choice, model_id, thinking=OFF)
    assert body_of(composition)["tool_choice"] == choice
    assert composition.plan.is_empty
    assert len(body_of(composition)["messages"]) == 1


@pytest.mark.parametrize(
    ("model_id", "thinking"),
    [
        (OPUS, None),
        (OPUS, OFF),
        (OPUS_5, {"type": "adaptive"}),
        ("claude-sonnet-5-5", OFF),
        ("", OFF),
    ],
)
def test_a_required_call_becomes_a_text_where_it_would_be_refused(
    model_id: str, thinking: Any
) -> None:
    fields = {} if thinking is None else {"thinking": thinking}
    composition = _ask(ANY, model_id, **fields)
    assert body_of(composition)["tool_choice"] == {"type": "auto"}
    assert composition.plan.demanded == ("look",)
    assert WORDS in str(_last(composition))
    assert not composition.is_remembered
    assert "tool_choice" in composition.adjusted


def test_the_operator_may_have_required_calls_sent() -> None:
    composition = _ask(ANY, options={"forward_tool_choice": True})
    assert "tool_choice" not in composition.adjusted
    assert body_of(composition)["tool_choice"] == ANY
    assert composition.plan.is_empty


def test_disable_parallel_tool_use_is_kept_with_the_text() -> None:
    composition = _ask({**ANY, "disable_parallel_tool_use": True})
    assert body_of(composition)["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }


def test_the_text_is_a_system_message_for_models_that_take_them() -> None:
    told = [user("hi"), assistant(call("a")), user(result("a"))]
    for messages in ("hi", told):
        composition = _ask(ANY, messages=messages)
        assert _last(composition) == system(WORDS)
        assert composition.body.system == ""


def test_the_text_joins_the_clients_last_system_message() -> None:
    composition = _ask(ANY, messages=[user("hi"), system("be brief")])
    last = _last(composition)
    assert last["role"] == "system"
    assert [b["text"] for b in last["content"]] == ["be brief", WORDS]
    # The breakpoint stays on the client's.
    assert "cache_control" in last["content"][0]
    assert "cache_control" not in last["content"][1]


def test_the_text_is_the_users_for_other_models() -> None:
    asked = [user("hi")]
    composition = _ask(ANY, HAIKU_4_5, asked, thinking={"type": "adaptive"})
    assert _last(composition) == user(text(WORDS))


def test_no_text_follows_results() -> None:
    told = [user("hi"), assistant(call("a")), user(result("a"))]
    composition = _ask(ANY, "claude-sonnet-5", told, thinking={"type": "adaptive"})
    assert [b["type"] for b in _last(composition)["content"]] == ["tool_result"]
    assert composition.plan.demanded == ("look",)


def test_the_text_names_all_required_tools() -> None:
    composition = _ask(ANY, tools=[tool("a"), tool("b")])
    assert "one of the tools `a`, `b`" in str(_last(composition))
    composition = _ask({"type": "tool", "name": "b"}, tools=[tool("a"), tool("b")])
    assert composition.plan.demanded == ("b",)


def test_a_required_call_of_a_missing_tool_is_refused() -> None:
    for tools, choice in [([], ANY), ([tool()], {"type": "tool", "name": "gone"})]:
        with pytest.raises(InvalidRequest) as caught:
            _ask(choice, tools=tools)
        assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "auto"},
        {"type": "none"},
        {"type": "auto", "disable_parallel_tool_use": True},
        {"type": "auto", "novel": 1},
    ],
)
def test_a_choice_without_tools_is_left_out_and_named(choice: Any) -> None:
    composition = _ask(choice, tools=[])
    assert "tool_choice" not in body_of(composition)
    assert composition.ignored == ("tool_choice",)


def test_a_choice_among_tools_that_the_proxy_adds_is_named() -> None:
    told = [user("hi"), assistant(call("a")), user(result("a"))]
    composition = _ask({"type": "auto"}, messages=told, tools=[])
    assert body_of(composition)["tool_choice"] == {"type": "none"}
    assert composition.adjusted == ("tools", "tool_choice")
    assert _ask({"type": "none"}, messages=told, tools=[]).adjusted == ("tools",)


def test_the_second_question_follows_the_answer() -> None:
    composition = _ask(ANY)
    said = request([user("x"), assistant("I would rather talk.")]).messages[1].blocks
    body = composition.again(said, "Make the call now.")
    assert body is not None
    first = body_of(composition)["messages"]
    sent = json.loads(body.json)["messages"]
    assert sent[: len(first)] == first
    assert sent[-2:] == [
        assistant(text("I would rather talk.")),
        user(text("Make the call now.")),
    ]


def test_after_an_empty_answer_the_text_is_extended() -> None:
    composition = _ask(ANY)
    body = composition.again((), "Make the call now.")
    assert body is not None
    assert f"{WORDS} Make the call now.".encode() in body.json
    told = [user("hi"), assistant(call("a")), user(result("a"))]
    composition = _ask(ANY, "claude-sonnet-5", told, thinking={"type": "adaptive"})
    assert composition.again((), "Make the call now.") is None
