"""Calls and their results."""

from typing import Any

import pytest

from ccproxy.claude.body.compose import Composition
from ccproxy.core.errors import InvalidRequest
from tests.support.composed import (
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


def _ask(*messages: dict[str, Any]) -> Composition:
    return composed(request(list(messages), tools=[tool()]))


def _kinds(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    return ["text"] if isinstance(content, str) else [b["type"] for b in content]


def _results(message: dict[str, Any]) -> list[str]:
    return [b["tool_use_id"] for b in message["content"] if "tool_use_id" in b]


def test_results_in_front_stay_in_the_clients_order() -> None:
    composition = _ask(
        user("hi"),
        assistant(call("a"), call("b")),
        user(result("b"), result("a"), "and?"),
    )
    last = body_of(composition)["messages"][2]
    assert _results(last) == ["b", "a"]
    assert _kinds(last) == ["tool_result", "tool_result", "text"]
    assert composition.adjusted == ()


def test_results_after_text_are_moved_to_the_front_and_reported() -> None:
    composition = _ask(
        user("hi"), assistant(call("a"), call("b")), user("x", result("a"), result("b"))
    )
    last = body_of(composition)["messages"][2]
    assert _kinds(last) == ["tool_result", "tool_result", "text"]
    assert composition.adjusted == ("messages[2].content[1]", "messages[2].content[2]")


def test_results_of_several_messages_become_one() -> None:
    composition = _ask(
        user("hi"),
        assistant(call("a"), call("b")),
        user(result("a")),
        user(result("b")),
        user("and?"),
    )
    sent = body_of(composition)["messages"]
    assert _results(sent[2]) == ["a", "b"]
    assert len(sent) == 4
    # Neighbours are one turn to the API, so nothing has changed.
    assert composition.adjusted == ()


def test_results_after_another_message_are_moved_to_the_front() -> None:
    composition = _ask(
        user("hi"), assistant(call("a")), system("now"), user("x"), user(result("a"))
    )
    sent = body_of(composition)["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user", "user", "system"]
    assert _results(sent[2]) == ["a"]
    assert "messages[4].content[0]" in composition.adjusted


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        (
            [user("hi"), assistant(call("a")), user("x")],
            "messages[1].content[0]",
            "'a'",
        ),
        ([user("hi"), assistant(call("a"))], "messages[1].content[0]", "no result"),
        (
            [user("hi"), assistant(call("a"), call("b")), user(result("a"))],
            "messages[1].content[1]",
            "'b'",
        ),
        ([user(result("a"))], "messages[0].content[0]", "no call"),
        (
            [
                user("hi"),
                assistant(call("a")),
                user(result("a")),
                assistant("ho"),
                user(result("a")),
            ],
            "messages[4].content[0]",
            "no call",
        ),
        (
            [user("hi"), assistant(call("a")), user(result("a"), result("a"))],
            "messages[2].content[1]",
            "one too many",
        ),
    ],
)
def test_calls_and_results_that_do_not_match_are_refused(
    messages: list[Any], param: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _ask(*messages)
    assert caught.value.param == param
    assert words in caught.value.message
    assert caught.value.message.startswith(f"`{param}`")


def test_valid_ids_are_kept() -> None:
    composition = _ask(
        user("hi"),
        assistant(call("toolu_01"), call("call-2")),
        user(result("toolu_01"), result("call-2")),
        assistant(call("x")),
        user(result("x")),
    )
    assert composition.adjusted == ()


def test_an_invalid_id_is_replaced_in_call_and_result() -> None:
    composition = _ask(
        user("hi"),
        assistant(call("call|1.é"), call("")),
        user(result(""), result("call|1.é")),
    )
    sent = body_of(composition)["messages"]
    calls = [b["id"] for b in sent[1]["content"]]
    assert calls == ["call_1__", "call"]
    assert _results(sent[2]) == ["call", "call_1__"]
    assert composition.adjusted == (
        "messages[1].content[0].id",
        "messages[1].content[1].id",
    )


def test_repeated_ids_are_replaced_in_order() -> None:
    loop = [assistant(call("0")), user(result("0"))]
    short = _ask(user("hi"), *loop, *loop)
    long = _ask(user("hi"), *loop, *loop, *loop)
    sent = body_of(long)["messages"]
    assert [m["content"][0]["id"] for m in sent[1::2]] == ["0", "0-2", "0-3"]
    assert [_results(m) for m in sent[2::2]] == [["0"], ["0-2"], ["0-3"]]
    # Breakpoints move with the end.
    assert body_of(short)["messages"][1:2] == sent[1:2]
    assert body_of(short)["messages"][3:4] == sent[3:4]


def test_results_of_two_calls_with_one_id_are_matched_in_order() -> None:
    composition = _ask(
        user("hi"),
        assistant(call("a", n=1), call("a", n=2)),
        user(result("a", "one"), result("a", "two")),
    )
    sent = body_of(composition)["messages"]
    assert [b["id"] for b in sent[1]["content"]] == ["a", "a-2"]
    assert [(b["tool_use_id"], b["content"]) for b in sent[2]["content"]] == [
        ("a", "one"),
        ("a-2", "two"),
    ]


def test_results_are_matched_across_several_messages() -> None:
    composition = _ask(
        user("hi"),
        assistant("I look."),
        assistant(call("a")),
        assistant(call("b")),
        user(result("b"), result("a"), text("so?")),
    )
    assert composition.adjusted == ()
    assert len(body_of(composition)["messages"]) == 5


def test_calls_in_a_request_without_tools_get_a_tool_that_must_not_be_called() -> None:
    told = [user("hi"), assistant(call("a", "gone")), user(result("a"))]
    composition = composed(request(told))
    body = body_of(composition)
    assert [t["name"] for t in body["tools"]] == ["earlier_tool"]
    assert body["tool_choice"] == {"type": "none"}
    assert composition.adjusted == ("tools",)
    # With the next call, too: the prompt cache begins with the tools.
    more = [*told, assistant(call("b", "other")), user(result("b"))]
    assert body_of(composed(request(more)))["tools"] == body["tools"]


def test_ids_that_are_null_pair_in_their_order() -> None:
    nameless = {**call("a"), "id": None}
    told = [{**result("a", said), "tool_use_id": None} for said in ("one", "two")]
    composition = _ask(user("hi"), assistant(nameless, nameless), user(*told))
    calls, answers = [m["content"] for m in body_of(composition)["messages"][1:]]
    assert [block["id"] for block in calls] == ["call", "call-2"]
    assert [block["tool_use_id"] for block in answers] == ["call", "call-2"]
    assert [block["content"] for block in answers] == ["one", "two"]
    path = "messages[1].content"
    assert composition.adjusted == (f"{path}[0].id", f"{path}[1].id")


def test_a_name_that_the_model_made_up_becomes_one_that_the_provider_takes() -> None:
    made_up = call("a", "functions.look")
    composition = _ask(user("hi"), assistant(made_up), user(result("a")))
    [block] = body_of(composition)["messages"][1]["content"]
    assert block["name"] == "functions_look"
    assert composition.adjusted == ("messages[1].content[0].name",)
