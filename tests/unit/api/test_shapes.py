"""Shapes of other APIs that Cursor and other clients send to OpenAI's APIs.

What is plain is understood: each shape is sent as the usual shape is. The tables are by
name; `docs/chat-completions.md` tells the shapes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.errors import ClientError
from tests.support.composed import HAIKU_4_5, composed
from tests.support.messages_requests import png

JSON = dict[str, Any]

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
FUNCTION = {"name": "read", "description": "Reads.", "parameters": SCHEMA}
ANTHROPIC = {"name": "read", "description": "Reads.", "input_schema": SCHEMA}
PATCH = {"name": "patch", "description": "Patches."}
NESTED = {"type": "function", "function": FUNCTION}
FLAT = {"type": "function", **FUNCTION}
HI = {"role": "user", "content": "hi"}
PNG = f"data:image/png;base64,{png()}"
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": png()},
}
NOTE = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
}
NOTE_URL = "data:text/plain;base64,eA=="
USE = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
CALLED = {"name": "read", "arguments": '{"path": "a"}'}
CALL = {"id": "t1", "type": "function", "function": CALLED}
ITEM = {"type": "function_call", "call_id": "t1", **CALLED}
OUTPUT = {"type": "function_call_output", "call_id": "t1", "output": "x"}
ASKED = {"role": "tool", "tool_call_id": "t1", "content": "x"}
USED_AND_ANSWERED = [("user", "hi"), ("assistant", [USE]), ("user", [RESULT])]


def said(*parts: JSON) -> JSON:
    return {"role": "assistant", "content": [*parts]}


def asks(*parts: JSON) -> JSON:
    return {"role": "user", "content": [*parts]}


def sent(path: str, body: Mapping[str, Any]) -> tuple[JSON, list[str]]:
    """The composed body, with its system prompt, and the named paths."""
    raw = json.dumps({"model": "haiku", **body}).encode()
    call: Any
    made: Any
    if path == "chat":
        call = made = decode_chat(raw)
    else:
        call = decode_responses(raw)
        made = request_of(call, context_of(call, (), {}), None)
    found = composed(made.request, HAIKU_4_5, effort=made.request.effort)
    names = {*call.ignored, *call.adjusted, *made.ignored, *made.adjusted}
    whole = {**json.loads(found.body.json), "effort": found.body.effort}
    whole["system"] = found.body.system
    return whole, sorted({*names, *found.ignored, *found.adjusted})


def turns(body: JSON) -> list[tuple[str, Any]]:
    """The messages without breakpoints; one block of text is a text."""
    return [(turn["role"], _plain(turn["content"])) for turn in body["messages"]]


def _plain(content: Any) -> Any:
    if isinstance(content, str):
        return content
    bare = [{k: v for k, v in b.items() if k != "cache_control"} for b in content]
    is_text = len(bare) == 1 and bare[0].keys() == {"type", "text"}
    return bare[0]["text"] if is_text else bare


TOOLS: Mapping[str, Sequence[JSON]] = {
    "nested": [NESTED],
    "flat": [FLAT],
    "flat-without-type": [FUNCTION],
    "nested-without-type": [{"function": FUNCTION}],
    "nested-custom-type": [{"type": "function", "function": ANTHROPIC}],
    "input-schema": [ANTHROPIC],
    "input-schema-custom": [{"type": "custom", **ANTHROPIC}],
    "input-schema-function": [{"type": "function", **ANTHROPIC}],
}
PATHS = pytest.mark.parametrize("path", ["chat", "responses"])


@PATHS
@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_of_any_shape(path: str, name: str) -> None:
    field = "messages" if path == "chat" else "input"
    body, named = sent(path, {field: [HI], "tools": TOOLS[name]})
    assert (body["tools"], named) == ([ANTHROPIC], [])


@PATHS
def test_tools_of_several_shapes_in_one_request(path: str) -> None:
    field = "messages" if path == "chat" else "input"
    tools = [NESTED, {**FLAT, "name": "list"}, {**ANTHROPIC, "name": "find"}]
    body, named = sent(path, {field: [HI], "tools": tools})
    assert [tool["name"] for tool in body["tools"]] == ["read", "list", "find"]
    assert named == []


@PATHS
@pytest.mark.parametrize(
    "tool",
    [
        {"type": "custom", **PATCH, "format": {"type": "text"}},
        {**PATCH, "format": {"type": "text"}},
        {"type": "custom", "custom": {**PATCH, "format": {"type": "text"}}},
        {"custom": PATCH},
    ],
    ids=["flat", "flat-without-type", "nested", "nested-without-type"],
)
def test_a_custom_tool_of_any_shape(path: str, tool: JSON) -> None:
    field = "messages" if path == "chat" else "input"
    body, named = sent(path, {field: [HI], "tools": [tool]})
    [made] = body["tools"]
    assert made["name"] == "patch"
    assert [*made["input_schema"]["properties"]] == ["input"]
    assert named == []


READ: JSON = {"type": "function", "function": {"name": "read"}}
ONE_CALL: JSON = {"disable_parallel_tool_use": True}


@PATHS
@pytest.mark.parametrize("is_single", [False, True])
@pytest.mark.parametrize(
    ("choice", "usual"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "required"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "read"}, READ),
        ({"type": "function", "name": "read"}, READ),
        ({"function": {"name": "read"}}, READ),
        ({"name": "read"}, READ),
    ],
    ids=json.dumps,
)
def test_a_choice_of_any_shape(
    path: str, is_single: bool, choice: JSON, usual: object
) -> None:
    field = "messages" if path == "chat" else "input"
    request = {field: [HI], "tools": [FLAT]}
    one = {"parallel_tool_calls": False} if is_single else {}
    expected = sent(path, {**request, **one, "tool_choice": usual})
    given = {**choice, **(ONE_CALL if is_single else {})}
    assert sent(path, {**request, "tool_choice": given}) == expected


PARTS: Mapping[str, tuple[Sequence[JSON], Sequence[tuple[str, Any]]]] = {
    "text": ([asks({"type": "text", "text": "x"})], [("user", "x")]),
    "input_text": ([asks({"type": "input_text", "text": "x"})], [("user", "x")]),
    "image_url": (
        [asks({"type": "image_url", "image_url": {"url": PNG}})],
        [("user", [IMAGE])],
    ),
    "input_image": (
        [asks({"type": "input_image", "image_url": PNG})],
        [("user", [IMAGE])],
    ),
    "image": ([asks(IMAGE)], [("user", [IMAGE])]),
    "file": (
        [asks({"type": "file", "file": {"file_data": NOTE_URL}})],
        [("user", [NOTE])],
    ),
    "input_file": (
        [asks({"type": "input_file", "file_data": NOTE_URL})],
        [("user", [NOTE])],
    ),
    "document": ([asks(NOTE)], [("user", [NOTE])]),
    "output_text": (
        [HI, said({"type": "output_text", "text": "x"}), HI],
        [("user", "hi"), ("assistant", "x"), ("user", "hi")],
    ),
    "thinking": (
        [HI, said(THOUGHT, {"type": "text", "text": "x"}), HI],
        [
            ("user", "hi"),
            ("assistant", [THOUGHT, {"type": "text", "text": "x"}]),
            ("user", "hi"),
        ],
    ),
    "tool_use": ([HI, said(USE), asks(RESULT)], USED_AND_ANSWERED),
    "tool_use-and-message": ([HI, said(USE), ASKED], USED_AND_ANSWERED),
    "tool_result-in-tool-message": (
        [HI, said(USE), {"role": "tool", "tool_call_id": "t1", "content": [RESULT]}],
        USED_AND_ANSWERED,
    ),
    "tool_result-without-id-in-tool-message": (
        [
            HI,
            said(USE),
            {**ASKED, "content": [{"type": "tool_result", "content": "x"}]},
        ],
        USED_AND_ANSWERED,
    ),
    "tool_result-alone-in-tool-message": (
        [HI, said(USE), {"role": "tool", "content": [RESULT]}],
        USED_AND_ANSWERED,
    ),
    "tool_calls": (
        [HI, {"role": "assistant", "content": None, "tool_calls": [CALL]}, ASKED],
        USED_AND_ANSWERED,
    ),
    "tool_calls-flat": (
        [HI, {"role": "assistant", "tool_calls": [{"id": "t1", **CALLED}]}, ASKED],
        USED_AND_ANSWERED,
    ),
    "tool_calls-with-call_id": (
        [
            HI,
            {"role": "assistant", "tool_calls": [{"call_id": "t1", **CALLED}]},
            {"role": "tool", "call_id": "t1", "content": "x"},
        ],
        USED_AND_ANSWERED,
    ),
    "tool_calls-and-block": (
        [HI, {"role": "assistant", "tool_calls": [CALL]}, asks(RESULT)],
        USED_AND_ANSWERED,
    ),
    "items": ([HI, ITEM, OUTPUT], USED_AND_ANSWERED),
    "item-message": ([{"type": "message", **HI}], [("user", "hi")]),
}


@PATHS
@pytest.mark.parametrize("name", PARTS)
def test_a_conversation_of_any_shape(path: str, name: str) -> None:
    is_usual = path == "chat" and "item" not in name
    field = "messages" if is_usual else "input"
    given, expected = PARTS[name]
    body, named = sent(path, {field: given, "tools": [FLAT]})
    assert (turns(body), named) == (expected, [])


def test_the_body_of_a_response_is_answered_as_chat() -> None:
    """As Cursor sends it, for models that it takes for newer ones of OpenAI."""
    form = {"type": "json_schema", "name": "f", "schema": SCHEMA}
    body, named = sent(
        "chat",
        {
            "instructions": "Be brief.",
            "input": [HI, {"type": "reasoning", "summary": []}, ITEM, OUTPUT],
            "tools": [FLAT],
            "max_output_tokens": 50,
            "reasoning": {"effort": "high"},
            "text": {"format": form},
            "store": False,
        },
    )
    assert turns(body)[:3] == USED_AND_ANSWERED
    assert "Be brief." in body["system"]
    assert (body["max_tokens"], body["effort"]) == (50, "high")
    assert "path" in json.dumps(body.get("output_config", body["tools"]))
    assert "input[1]" in named
    assert not {"instructions", "max_output_tokens", "reasoning", "text"} & {*named}


@pytest.mark.parametrize(
    "system", ["Be brief.", [{"type": "text", "text": "Be brief."}]]
)
def test_a_system_prompt_of_the_messages_api(system: object) -> None:
    body, named = sent("chat", {"messages": [HI], "system": system})
    assert ("Be brief." in body["system"], named) == (True, [])


def test_the_stops_of_the_messages_api() -> None:
    body, named = sent("chat", {"messages": [HI], "stop_sequences": ["END"]})
    assert (body["stop_sequences"], named) == (["END"], [])


def test_a_call_that_is_told_twice_is_sent_once() -> None:
    twice = {"role": "assistant", "content": [USE], "tool_calls": [CALL]}
    body, named = sent("chat", {"messages": [HI, twice, ASKED], "tools": [FLAT]})
    assert turns(body) == USED_AND_ANSWERED
    assert named == ["messages[1].tool_calls[0]"]


@PATHS
@pytest.mark.parametrize("kind", ["reasoning", "reasoning_text", "summary_text"])
def test_another_provider_s_reasoning_in_a_message_is_left_out(
    path: str, kind: str
) -> None:
    field = "messages" if path == "chat" else "input"
    told = said({"type": kind, "text": "hm"}, {"type": "text", "text": "x"})
    body, named = sent(path, {field: [HI, told, HI]})
    assert turns(body)[1] == ("assistant", "x")
    assert named == [f"{field}[1].content[0]"]


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_a_chat_completion_does_not_continue_a_response(name: str) -> None:
    """The model would not know what was said before."""
    with pytest.raises(ClientError) as caught:
        sent("chat", {"input": [HI], name: "resp_1"})
    assert caught.value.param == name


def test_the_body_of_a_chat_completion_is_answered_as_a_response() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}}
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    chat = {
        "messages": [HI, called, ASKED],
        "tools": [NESTED],
        "max_tokens": 50,
        "reasoning_effort": "high",
        "response_format": form,
        "stop": ["END"],
    }
    assert sent("responses", chat) == sent("chat", chat)
    usual = {
        "input": [HI, ITEM, OUTPUT],
        "tools": [FLAT],
        "max_output_tokens": 50,
        "reasoning": {"effort": "high"},
        "text": {"format": {"type": "json_schema", "name": "f", "schema": SCHEMA}},
        "stop": "END",
    }
    assert sent("responses", chat)[0] == sent("responses", usual)[0]


def test_a_response_repeats_what_the_fields_of_a_chat_completion_say() -> None:
    chat = {"messages": [HI], "max_tokens": 50, "reasoning_effort": "high"}
    form = {"response_format": {"type": "json_object"}}
    echo = decode_responses(json.dumps({**chat, **form}).encode()).echo
    repeated = json.loads(b"{" + echo.json + b"}")
    assert (echo.effort, repeated["max_output_tokens"]) == ("high", 50)
    assert repeated["text"] == {"format": {"type": "json_object"}}


def test_the_fields_of_the_api_itself_count() -> None:
    body, named = sent(
        "responses",
        {"input": "a", "messages": [HI], "max_output_tokens": 9, "max_tokens": 8},
    )
    assert (turns(body), body["max_tokens"]) == ([("user", "a")], 9)
    assert named == ["max_tokens", "messages"]


def test_an_error_names_the_field_that_the_client_has_sent() -> None:
    with pytest.raises(ClientError) as caught:
        sent("responses", {"messages": [HI, ITEM, HI]})
    assert "`messages" in caught.value.message
    with pytest.raises(ClientError) as caught:
        sent("responses", {})
    assert caught.value.param == "input"
