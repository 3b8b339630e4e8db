"""Conversations of OpenAI's APIs, translated: order, calls and results."""

import json
import sys
from re import fullmatch
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.api.common.content import ContentPart
from ccproxy.api.common.pairing import NO_ID
from ccproxy.api.common.prompt import (
    DecodedPrompt,
    InputMessage,
    PastThinking,
    conversation,
)
from ccproxy.core.blocks import is_blank, redacted_thinking_block, tool_use_block
from ccproxy.core.errors import ClientError, InvalidRequest
from ccproxy.core.messages import Adjustments
from tests.support.requests import told_messages

# What JavaScript's trim() takes away: WhiteSpace and LineTerminator of ECMA-262.
TRIMMED = (
    "\t\v\f \xa0\ufeff\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u202f\u205f\u3000\n\r\u2028\u2029"
)


def test_blank_is_what_python_or_javascript_trims() -> None:
    every = map(chr, range(sys.maxunicode + 1))
    blank = {character for character in every if is_blank(character)}
    spaces = {c for c in map(chr, range(sys.maxunicode + 1)) if not c.strip()}
    assert blank == spaces | set(TRIMMED)


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \t\ufeff\u3000\x1c"])
def test_nothing_but_white_space_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " a ", "\0", "\u200b", "\x1b", "."])
def test_whatever_can_be_shown_is_not_blank(text: str) -> None:
    assert not is_blank(text)


# Calls and results


def call(identifier: str, at: str = "") -> Any:
    return tool_use_block(identifier, "look", {}, at)


def said(role: str, content: str | None = None, *calls: Any) -> InputMessage:
    return InputMessage("", role, content, calls)


def result(identifier: str, content: str = "") -> InputMessage:
    return InputMessage("", "tool", content, result_of=identifier)


def told(*given: InputMessage) -> tuple[DecodedPrompt, Adjustments]:
    """The conversation, each message at its place in the request."""
    adjustments = Adjustments()
    placed = [evolve(m, at=f"messages[{n}]") for n, m in enumerate(given)]
    return conversation(placed, "messages", adjustments), adjustments


def use(identifier: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "look", "input": {}}


def answer(identifier: str, content: str = "") -> dict[str, Any]:
    about = {"tool_use_id": identifier, "content": content}
    return {"type": "tool_result", **about}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


USER = said("user", "go")


def test_results_of_one_turn_are_one_message_in_the_clients_order() -> None:
    found, adjustments = told(
        *(USER, said("assistant", "I look.", call("a"), call("b"))),
        *(result("b", "2"), result("a", "1"), said("user", "and?")),
        said("user", "well?"),
    )
    assert told_messages(found.messages) == [
        ("user", "go"),
        ("assistant", [text("I look."), use("a"), use("b")]),
        ("user", [answer("b", "2"), answer("a", "1"), text("and?")]),
        ("user", "well?"),
    ]
    assert adjustments.adjusted == ()


def test_what_is_said_before_the_results_comes_behind_them() -> None:
    found, adjustments = told(
        *(USER, said("assistant", None, call("a")), said("user", "wait")),
        *(said("developer", "Hurry."), result("a"), said("user", "now")),
    )
    assert told_messages(found.messages[2:]) == [
        ("user", [answer("a"), text("wait")]),
        ("system", "Hurry."),
        ("user", "now"),
    ]
    assert adjustments.adjusted == ("messages[4]",)


def test_a_system_message_in_the_middle_keeps_its_parts() -> None:
    marker = Raw(b'{"type":"ephemeral"}')
    parts = [
        ContentPart("text", "Be brief.", cache_control=marker),
        ContentPart("input_text", "Be kind."),
    ]
    for role in ("system", "developer"):
        found, adjustments = told(USER, InputMessage("", role, parts), USER)
        assert told_messages(found.messages) == [
            ("user", "go"),
            (
                "system",
                [
                    {**text("Be brief."), "cache_control": {"type": "ephemeral"}},
                    text("Be kind."),
                ],
            ),
            ("user", "go"),
        ]
        assert adjustments.ignored == ()


def test_a_system_message_in_front_is_one_text() -> None:
    parts = [ContentPart("text", "Be brief."), ContentPart("text", "Be kind.")]
    found, _ = told(InputMessage("", "system", parts), USER)
    assert found.system == "Be brief.\n\nBe kind."


def test_a_blank_system_message_in_the_middle_is_left_out_and_named() -> None:
    blank = [ContentPart("text", " "), ContentPart("text", "\n")]
    found, adjustments = told(
        USER, said("system", " "), InputMessage("", "system", blank), USER
    )
    assert told_messages(found.messages) == [("user", "go"), ("user", "go")]
    assert adjustments.ignored == (
        "messages[1].content",
        "messages[2].content[0]",
        "messages[2].content[1]",
    )


def test_the_assistants_messages_are_one_if_there_are_calls_in_them() -> None:
    found, _ = told(
        *(USER, said("assistant", "I look."), said("assistant", None, call("a"))),
        *(said("assistant", None, call("b")), result("a"), result("b")),
        *(said("assistant", "one"), said("assistant", "two"), USER),
    )
    assert told_messages(found.messages[1:]) == [
        ("assistant", [text("I look."), use("a"), use("b")]),
        ("user", [answer("a"), answer("b")]),
        *(("assistant", "one"), ("assistant", "two"), ("user", "go")),
    ]


def test_thinking_stands_in_front_and_its_model_beside() -> None:
    thinking = PastThinking(redacted_thinking_block("sealed", "messages[1].x"), "m-1")
    thought = InputMessage("", "assistant", None, thinking=(thinking,))
    found, adjustments = told(USER, thought, said("assistant", "yes"), USER, thought)
    assert told_messages(found.messages) == [
        ("user", "go"),
        ("assistant", [{"type": "redacted_thinking", "data": "sealed"}, text("yes")]),
        # Nothing came of it the second time.
        ("user", "go"),
    ]
    assert found.thinking_models == {"sealed": "m-1"}
    assert adjustments.ignored == ("messages[1].x",)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([said("assistant", None, call("a")), USER], "'a' has no result"),
        ([said("assistant", None, call("a"))], "'a' has no result"),
        (
            [said("assistant", None, call("a"), call("b")), result("a")],
            "'b' has no result",
        ),
        ([result("a")], "'a' has no call"),
        ([said("assistant", None, call("a")), result("b")], "'a' has no result"),
        (
            [said("assistant", None, call("a")), result("a"), result("a")],
            "'a' is one too many",
        ),
        (
            [said("assistant", None, call("a")), result("a"), result(NO_ID)],
            "without an id is one too many",
        ),
        (
            [said("assistant", None, call("a"), call("a")), result("a")],
            "'a' has no result",
        ),
        ([said("user", "go"), result(NO_ID)], "without an id has no call"),
    ],
)
def test_calls_and_results_have_to_add_up(
    messages: list[InputMessage], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        told(USER, *messages)
    assert (caught.value.param or "").startswith("messages")


# Ids


def test_ids_that_the_api_does_not_take_are_replaced_and_named() -> None:
    found, adjustments = told(
        *(USER, said("assistant", None, call("a:1", "x"), call("a_1", "y"))),
        *(result("a_1", "2"), result("a:1", "1")),
        *(said("assistant", None, call("a_1", "z")), result("a_1")),
    )
    assert told_messages(found.messages[1:]) == [
        ("assistant", [use("a_1"), use("a_1-2")]),
        ("user", [answer("a_1-2", "2"), answer("a_1", "1")]),
        ("assistant", [use("a_1-3")]),
        ("user", [answer("a_1-3")]),
    ]
    assert adjustments.adjusted == ("x", "y", "z")


def test_calls_without_ids_have_their_results_in_order() -> None:
    found, _ = told(
        *(USER, said("assistant", None, call(NO_ID), call("b"), call(NO_ID))),
        *(result("b", "2"), result(NO_ID, "1"), result(NO_ID, "3")),
    )
    assert told_messages(found.messages[1:]) == [
        ("assistant", [use("call"), use("b"), use("call-2")]),
        ("user", [answer("b", "2"), answer("call", "1"), answer("call-2", "3")]),
    ]


def test_a_result_without_an_id_has_the_only_call() -> None:
    found, _ = told(USER, said("assistant", None, call("a")), result(NO_ID, "1"))
    assert told_messages(found.messages[2:]) == [("user", [answer("a", "1")])]
    two = said("assistant", None, call("a"), call("b"))
    found, _ = told(USER, two, result("b", "2"), result(NO_ID, "1"))
    [(_, answers)] = told_messages(found.messages[2:])
    assert answers == [answer("b", "2"), answer("a", "1")]


def test_calls_with_one_id_have_their_results_in_order() -> None:
    same = said("assistant", None, call("a"), call("a", "second"))
    found, adjustments = told(USER, same, result("a", "1"), result("a", "2"))
    (_, calls), (_, answers) = told_messages(found.messages[1:])
    assert calls == [use("a"), use("a-2")]
    assert answers == [answer("a", "1"), answer("a-2", "2")]
    assert adjustments.adjusted == ("second",)


def test_a_call_that_was_cut_off_needs_no_result() -> None:
    cut = evolve(
        said("assistant", "so", call("a"), call("b", "cut")), unfinished=("cut",)
    )
    found, adjustments = told(USER, cut, result("a"), USER)
    (_, blocks), _ = told_messages(found.messages[1:])
    assert blocks == [text("so"), use("a")]
    assert adjustments.ignored == ("cut",)
    found, adjustments = told(USER, cut, result("a"), result("b"), USER)
    (_, blocks), _ = told_messages(found.messages[1:])
    assert blocks == [text("so"), use("a"), use("b")]
    assert adjustments.ignored == ()


IDS = st.text("ab_:\0é-", max_size=3)
ROUNDS = st.lists(st.lists(IDS, min_size=1, max_size=3, unique=True), max_size=5)


def history(rounds: list[list[str]]) -> list[InputMessage]:
    messages = [USER]
    for ids in rounds:
        messages.append(said("assistant", None, *map(call, ids)))
        messages += [result(identifier, identifier) for identifier in ids]
    return messages


@given(ROUNDS)
def test_ids_are_sound_and_each_is_there_once(rounds: list[list[str]]) -> None:
    found, _ = told(*history(rounds))
    blocks = [json.loads(b.raw) for m in found.messages for b in m.blocks]
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids)
    assert all(fullmatch("[a-zA-Z0-9_-]+", identifier) for identifier in ids)
    results = [b for b in blocks if b["type"] == "tool_result"]
    assert [block["tool_use_id"] for block in results] == ids
    assert [b["content"] for b in results] == [i for ids in rounds for i in ids]


@given(ROUNDS, st.integers(0, 5))
def test_a_longer_history_begins_as_the_shorter_one(
    rounds: list[list[str]], count: int
) -> None:
    """The prompt cache is of use only then."""
    shorter, _ = told(*history(rounds[:count]))
    longer, _ = told(*history(rounds))
    assert longer.messages[: len(shorter.messages)] == shorter.messages


@given(
    st.lists(
        st.one_of(
            st.builds(said, st.sampled_from(["user", "assistant", "system"]), IDS),
            st.lists(IDS, min_size=1, max_size=2).map(
                lambda ids: said("assistant", None, *map(call, ids))
            ),
            st.builds(result, IDS),
        ),
        max_size=8,
    )
)
def test_anything_adds_up_or_is_the_clients_fault(messages: list[InputMessage]) -> None:
    try:
        found, _ = told(*messages)
    except ClientError as error:
        assert error.param is not None
        return
    waiting: list[str] = []
    for message in found.messages:
        if message.role == "system":
            assert not waiting
            continue
        blocks = [json.loads(block.raw) for block in message.blocks]
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        assert results == waiting
        assert [b["type"] for b in blocks[: len(results)]] == ["tool_result"] * len(
            results
        )
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert not waiting
