"""Corrections of messages."""

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.body.numbers import is_reprinted
from ccproxy.core.errors import InvalidRequest, RequestTooLarge
from ccproxy.core.messages import Message, MessagesRequest
from tests.support.comparison import printed
from tests.support.composed import (
    HAIKU_4_5,
    assistant,
    body_of,
    call,
    composed,
    raw_message,
    request,
    result,
    text,
    thought,
    tool,
    user,
)


def _messages(body: dict[str, Any]) -> list[Any]:
    """The turns without our breakpoints, as the client wrote them."""
    found = json.loads(json.dumps(body["messages"]))
    for message in found:
        if isinstance(message["content"], list):
            for block in message["content"]:
                block.pop("cache_control", None)
    return list(found)


def test_blocks_are_sent_byte_for_byte() -> None:
    raw = b'{"type":"text", "text":"a\\u0062c" , "new_field":[1,  2]}'
    said = [user("one"), assistant("two"), user("three"), assistant("four")]
    asked = request([*said, user("five")])
    block = raw_message("user", [json.loads(raw)], "messages[0]")
    first = evolve(block, content=(evolve(block.blocks[0], raw=raw),))
    asked = evolve(asked, messages=(first, *asked.messages[1:]))
    assert raw in composed(asked).body.json


def test_unknown_blocks_and_fields_are_sent() -> None:
    novel = {"type": "hologram", "data": {"deep": [1, None]}}
    turn = {"role": "user", "content": [novel, text("hi")], "tone": "calm"}
    composition = composed(request([turn]))
    sent = body_of(composition)["messages"][0]
    assert sent["content"][0] == novel
    assert sent["tone"] == "calm"
    assert composition.adjusted == composition.ignored == ()


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u2003", "\ufeff"])
def test_blank_texts_are_left_out_and_reported(blank: str) -> None:
    composition = composed(request([user(blank, "hi", text(blank))]))
    assert _messages(body_of(composition)) == [user(text("hi"))]
    assert composition.ignored == (
        "messages[0].content[0]",
        "messages[0].content[2]",
    )


def test_a_message_of_blank_texts_is_left_out() -> None:
    told = [
        user("hi"),
        assistant(text(" ")),
        user("", "there?"),
        assistant(""),
        user("x"),
    ]
    composition = composed(request(told))
    sent = _messages(body_of(composition))
    assert [m["role"] for m in sent] == ["user", "user", "user"]
    assert composition.ignored == (
        "messages[1].content[0]",
        "messages[2].content[0]",
        "messages[3].content",
    )


def test_a_blank_last_message_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        composed(request([user("hi"), assistant("ho"), user(" \n")]))
    assert caught.value.param == "messages[2].content"


def test_blank_text_in_a_result_is_left_out() -> None:
    parts = [text(""), text("seen"), text(" \n")]
    told = [user("hi"), assistant(call("a")), user(result("a", parts))]
    composition = composed(request(told, tools=[tool()]))
    sent = _messages(body_of(composition))
    assert sent[2]["content"][0]["content"] == [text("seen")]
    assert composition.ignored == (
        "messages[2].content[0].content[0]",
        "messages[2].content[0].content[2]",
    )


def _document(content: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "content", "content": content}}


def _found(content: Any) -> dict[str, Any]:
    about = {"source": "https://x.y", "title": "x"}
    return {"type": "search_result", "content": content, **about}


@pytest.mark.parametrize(
    ("block", "path"), [(_document, "source.content"), (_found, "content")]
)
def test_blank_text_within_a_block_is_left_out(block: Any, path: str) -> None:
    given = [block([text(" "), text("a")]), block([text("")]), "b"]
    composition = composed(request([user(*given)]))
    assert _messages(body_of(composition)) == [user(block([text("a")]), text("b"))]
    assert composition.ignored == (
        f"messages[0].content[0].{path}[0]",
        f"messages[0].content[1].{path}[0]",
        "messages[0].content[1]",
    )


def test_a_document_of_a_blank_text_is_left_out() -> None:
    composition = composed(request([user(_document(" \n"), "b")]))
    assert _messages(body_of(composition)) == [user(text("b"))]
    assert composition.ignored == ("messages[0].content[0]",)


@pytest.mark.parametrize(
    ("block", "path"), [(_document, "source.content"), (_found, "content")]
)
def test_blank_text_deep_within_a_result_is_left_out(block: Any, path: str) -> None:
    parts = [block([text("x"), text(" ")]), block([text("\t")])]
    told = [user("hi"), assistant(call("a")), user(result("a", parts))]
    composition = composed(request(told, tools=[tool()]))
    sent = _messages(body_of(composition))[2]["content"][0]["content"]
    assert sent == [block([text("x")])]
    at = "messages[2].content[0].content"
    assert composition.ignored == (
        f"{at}[0].{path}[1]",
        f"{at}[1].{path}[0]",
        f"{at}[1]",
    )


@pytest.mark.parametrize("content", ["a", [], None, [text("seen")], [7], 7])
@pytest.mark.parametrize("block", [_document, _found])
def test_a_block_without_blanks_stays(block: Any, content: Any) -> None:
    composition = composed(request([user(block(content), "b")]))
    assert _messages(body_of(composition)) == [user(block(content), text("b"))]
    assert composition.ignored == composition.adjusted == ()


@pytest.mark.parametrize("content", ["", [], [text("seen")], None])
def test_a_result_without_blanks_stays(content: Any) -> None:
    block = result("a", content)
    if content is None:
        del block["content"]
    told = [user("hi"), assistant(call("a")), user(block)]
    composition = composed(request(told, tools=[tool()]))
    assert _messages(body_of(composition))[2]["content"] == [block]
    assert composition.ignored == composition.adjusted == ()


@pytest.mark.parametrize(
    ("given_input", "sent"),
    [
        (None, {}),
        ("", {}),
        ('{"path": "a.t', {"arguments": '{"path": "a.t'}),
        ('{"path": "a.txt"}', {"path": "a.txt"}),
        (r'{"half": "\ud83d"}', {"half": "\ufffd"}),
        ([1, 2], {"arguments": [1, 2]}),
        (7, {"arguments": 7}),
    ],
)
def test_the_input_of_a_call_becomes_an_object(given_input: Any, sent: Any) -> None:
    block = {**call("a"), "input": given_input}
    told = [user("hi"), assistant(block), user(result("a"))]
    composition = composed(request(told, tools=[tool()]))
    assert body_of(composition)["messages"][1]["content"][0]["input"] == sent
    assert composition.adjusted == ("messages[1].content[0].input",)


@pytest.mark.parametrize(
    "raw",
    [
        b"12345678901234567890",
        b"9007199254740993",
        b"1.0",
        b"-0.0",
        b"-0",
        b"1e400",
        b"1E5",
        b"1.50",
        b"0.00001e0",
        b'{"a":[1,{"b":1e2}]}',
    ],
)
def test_numbers_that_the_cli_changes_are_reported(raw: bytes) -> None:
    assert is_reprinted(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"0",
        b"9007199254740992",
        b"-12.5",
        b"0.00001",
        b"1e-7",
        b"1e+21",
        b'{"a":"1.0 and 12345678901234567890","b\\"1e5":[0.1]}',
    ],
)
def test_numbers_that_the_cli_keeps_are_not_reported(raw: bytes) -> None:
    assert not is_reprinted(raw)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_is_not_reported_is_unchanged_by_javascript(value: float) -> None:
    raw = json.dumps(value)
    if not is_reprinted(raw.encode()):
        assert printed(value) == value


def test_a_large_number_in_a_past_call_is_reported() -> None:
    told = [user("hi"), assistant(call("a", n=2**60, s="1.0")), user(result("a"))]
    composition = composed(request(told, tools=[tool()]))
    assert composition.adjusted == ("messages[1].content[0].input",)
    assert str(2**60) in composition.body.json.decode()


def test_thinking_without_a_signature_is_left_out() -> None:
    first = raw_message("user", "hi")
    second = raw_message(
        "assistant", [thought(signature=""), text("ho")], "messages[1]"
    )
    third = raw_message("user", "so?")
    composition = composed(MessagesRequest(messages=(first, second, third)))
    assert _messages(body_of(composition))[1]["content"] == [text("ho")]
    assert composition.ignored == ("messages[1].content[0]",)


def test_a_breakpoint_on_thinking_is_removed() -> None:
    marked = {**thought(), "cache_control": {"type": "ephemeral"}}
    composition = composed(request([user("hi"), assistant(marked, "ho"), user("so?")]))
    assert body_of(composition)["messages"][1]["content"][0] == thought()
    assert composition.adjusted == ("messages[1].content[0].cache_control",)


def test_thinking_at_the_end_of_a_message_is_left_out() -> None:
    told = [user("hi"), assistant("ho", thought()), user("so?"), assistant(thought())]
    composition = composed(request([*told, user("well?")]))
    sent = _messages(body_of(composition))
    said = [m["content"] for m in sent]
    assert said == [[text("hi")], [text("ho")], "so?", [text("well?")]]
    assert composition.ignored == (
        "messages[1].content[1]",
        "messages[3].content[0]",
    )


def test_an_unknown_role_is_refused() -> None:
    asked = MessagesRequest(messages=(Message("tool", "x", "messages[0]"),))
    with pytest.raises(InvalidRequest) as caught:
        composed(asked)
    assert caught.value.param == "messages[0].role"


def test_a_request_without_messages_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing to answer"):
        composed(MessagesRequest(messages=()))


def test_too_many_messages_are_refused() -> None:
    one = Message("user", "x")
    with pytest.raises(InvalidRequest, match="100000"):
        composed(MessagesRequest(messages=(one,) * 100_001))


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(RequestTooLarge):
        composed(request("x" * 2000), largest_bytes=1000)
    composed(request("x" * 2000), largest_bytes=4000)


def test_a_system_prompt_without_messages_becomes_the_question() -> None:
    asked = MessagesRequest(messages=(), system="Describe the weather in Oslo.")
    composition = composed(asked)
    assert _messages(body_of(composition)) == [
        user(text("Describe the weather in Oslo."))
    ]
    assert composition.body.system == ""
    assert composition.body.first_text == "Describe the weather in Oslo."
    assert composition.adjusted == ("system",)


def test_the_clis_user_message_is_the_first_text_of_the_user() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://x.y/z"}}
    for first, expected in [
        (user(" \n", "there"), "there"),
        (user(picture), "."),
        (user(picture, "see"), "see"),
    ]:
        told = [first, assistant("ho"), user("later")]
        assert composed(request(told)).body.first_text == expected


def test_a_prefill_is_sent_to_models_that_take_it() -> None:
    told = [user("hi"), assistant("So it \n")]
    composition = composed(
        request(told, thinking={"type": "disabled"}), model_id=HAIKU_4_5
    )
    assert _messages(body_of(composition))[1] == assistant(text("So it"))
    assert composition.adjusted == ("messages[1].content",)
    assert not composition.is_remembered


def test_a_prefill_is_refused_for_other_models() -> None:
    with pytest.raises(InvalidRequest) as caught:
        composed(request([user("hi"), assistant("So it")]))
    assert caught.value.param == "messages[1].role"


def test_a_paused_answer_is_sent_unchanged() -> None:
    search = {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "x"},
    }
    told = [user("hi"), assistant("I look.", search)]
    composition = composed(request(told))
    sent = _messages(body_of(composition))
    assert sent[1]["content"] == [text("I look."), search]


def test_a_number_within_a_result_is_reported() -> None:
    part = {"type": "part_of_next_year", "n": 1.0}
    told = [user("hi"), assistant(call("a")), user(result("a", [text("x"), part]))]
    composition = composed(request(told, tools=[tool()]))
    assert composition.adjusted == ("messages[2].content[0].content[1]",)
