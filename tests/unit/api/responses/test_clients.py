"""Requests and streams of real clients of the Responses API.

Source: requests of these clients as they were seen, and cases that failed.
"""

import json
from typing import Any

import pytest

from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import (
    AssembledRequest,
    context_of,
    request_of,
)
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.blocks import Block
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)
from tests.support.events import call_start
from tests.support.requests import told_messages, told_tools
from tests.support.spec import response_errors, response_event_errors

SEAL = Encryptor(new_key())
START = MessageStart("claude-test-1")
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
USER = {"role": "user", "content": "one"}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "seen"}


def assembled(body: bytes) -> AssembledRequest:
    """The whole of a request that refers to nothing; all its mendings."""
    call = decode_responses(body)
    told = request_of(call, context_of(call, (), {}), SEAL)
    ignored, adjusted = call.ignored + told.ignored, call.adjusted + told.adjusted
    return AssembledRequest(request=told.request, ignored=ignored, adjusted=adjusted)


def sent(*items: Any, **fields: Any) -> AssembledRequest:
    return assembled(json.dumps({"input": items, **fields}).encode())


def told(*events: Event, **fields: Any) -> list[dict[str, Any]]:
    """The events that a client is told, each as its type wants it."""
    body = {"input": "hello", "tools": [LOOK], **fields}
    call = decode_responses(json.dumps(body).encode())
    encoder = ResponseStream("abc", call.echo, lambda: 1.0, SEAL, call.tools)
    wire = [*encoder.encode([START, *events]), *encoder.conclude()]
    parsed = [json.loads(event.data) for event in wire]
    assert [error for event in parsed for error in response_event_errors(event)] == []
    return parsed


# What they break on


ANSWER: tuple[Event, ...] = (
    ThinkingDelta("hm"),
    SignatureDelta("c2ln"),
    TextDelta("one "),
    TextDelta("two"),
    call_start("toolu_1", "look", 2),
    InputJSONDelta('{"a":', 2),
    InputJSONDelta("1}", 2),
    call_start("toolu_2", "look", 3),
    Finished("tool_use", Usage(input_tokens=3, output_tokens=4)),
)


def test_stream_has_all_that_clients_break_without() -> None:
    events = told(*ANSWER)
    first, last = events[0], events[-1]
    assert first["type"] == "response.created"
    assert last["type"] == "response.completed"
    for response in (first["response"], last["response"]):
        assert isinstance(response["created_at"], int)
        assert response_errors(response) == []
    assert last["response"]["usage"]["total_tokens"] == 7
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [e for e in events if e["type"] == "response.output_item.added"]
    done = [e for e in events if e["type"] == "response.output_item.done"]
    assert [e["output_index"] for e in added] == [0, 1, 2, 3]
    # codex takes its items from nowhere else.
    assert [e["item"] for e in done] == last["response"]["output"]
    assert [e["item"]["id"] for e in added] == [e["item"]["id"] for e in done]
    assert len({e["item"]["id"] for e in done}) == 4
    assert [e["item"]["status"] for e in added] == ["in_progress"] * 4
    assert [e["item"]["status"] for e in done] == ["completed"] * 4
    reasoning, message, call, other = [e["item"] for e in done]
    assert reasoning["type"] == "reasoning"
    assert message["content"][0]["annotations"] == []
    assert (call["call_id"], call["name"]) == ("toolu_1", "look")
    assert (call["arguments"], other["arguments"]) == ('{"a":1}', "{}")
    for event in events:
        if "delta" in event:
            item = done[event["output_index"]]["item"]
            assert event["item_id"] == item["id"]
    parts = [e for e in events if e["type"] == "response.content_part.added"]
    assert [(e["content_index"], e["output_index"]) for e in parts] == [(0, 1)]
    kind = "response.function_call_arguments.delta"
    deltas = [(e["output_index"], e["delta"]) for e in events if e["type"] == kind]
    assert deltas == [(2, '{"a":'), (2, "1}"), (3, "{}")]


def test_input_of_the_providers_own_tool_is_no_argument() -> None:
    """It comes as the same kind of delta, in a block of its own."""
    own: dict[str, Any] = {"id": "srvtoolu_1", "name": "web_search", "input": {}}
    events = told(
        call_start("toolu_1", "look", 0),
        InputJSONDelta("{}", 0),
        ContentBlockStop(0),
        ContentBlockStart(Block.make("server_tool_use", **own), 1),
        InputJSONDelta('{"query":"x"}', 1),
        ContentBlockStop(1),
        ContentBlockStart(Block.make("tomorrows_block", secret="x"), 2),
        OpaqueDelta(b'{"type":"tomorrows_delta"}', 2),
        TextDelta("found", 3),
        Finished("tool_use"),
    )
    call, search, message = events[-1]["response"]["output"]
    assert call["arguments"] == "{}"
    assert search["action"]["query"] == "x"
    # It has no result.
    assert search["status"] == "failed"
    assert message["content"][0]["text"] == "found"


def test_empty_answer_is_one() -> None:
    [_, _, done] = told(Finished("end_turn", Usage(output_tokens=2)))
    assert done["type"] == "response.completed"
    assert done["response"]["output"] == []
    assert done["response"]["usage"]["output_tokens"] == 2


def test_call_that_ends_with_another_reason_is_a_call() -> None:
    events = told(call_start("toolu_1", "look"), Finished("end_turn"))
    [call] = events[-1]["response"]["output"]
    assert (call["type"], call["status"]) == ("function_call", "completed")


def test_call_that_was_cut_off_is_incomplete_and_can_be_sent_back() -> None:
    cut = call_start("toolu_1", "look"), InputJSONDelta('{"a')
    events = told(TextDelta("Let me see."), *cut, Finished("max_tokens"))
    response = events[-1]["response"]
    assert response["status"] == "incomplete"
    *_, call = response["output"]
    assert (call["status"], call["arguments"]) == ("incomplete", '{"a')
    question = sent(USER, *response["output"], {"role": "user", "content": "two"})
    assert told_messages(question.request.messages) == [
        ("user", "one"),
        ("assistant", [{"type": "text", "text": "Let me see."}]),
        ("user", "two"),
    ]
    assert question.ignored == ("input[2]",)


# What they send


def test_byte_order_mark_is_taken_off() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"input": "one"}).encode()
    assert told_messages(assembled(body).request.messages) == [("user", "one")]


def test_half_a_surrogate_is_mended_and_named() -> None:
    half = "\ud83d"
    question = sent({"role": "user", "content": half + "x"})
    assert told_messages(question.request.messages) == [("user", "\ufffdx")]
    assert question.adjusted == ("input[0].content",)


def test_numbers_of_a_past_call_stay_as_they_were_written() -> None:
    """Also those that floating point cannot hold."""
    arguments = '{"id": 12345678901234567890, "a": 1.0, "b": -0.0}'
    question = sent(USER, {**CALL, "arguments": arguments}, OUTPUT)
    [call] = question.request.messages[1].blocks
    assert arguments.encode() in call.raw
    assert question.adjusted == ()


def test_schema_of_a_tool_stays_as_it_was_written() -> None:
    """With what the Vercel AI SDK puts in front, and what looks of no use."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"z": {"type": "string"}, "a": {"const": 1.0}},
        "additionalProperties": False,
    }
    tool = {**LOOK, "description": "x" * 5000, "parameters": schema}
    [given] = told_tools(sent(USER, tools=[tool]).request.tools)
    assert given["input_schema"] == schema
    assert list(given["input_schema"]["properties"]) == ["z", "a"]
    assert given["description"] == "x" * 5000


def test_order_of_tools_is_the_clients() -> None:
    tools = [{**LOOK, "name": name} for name in ("z", "ToolSearch", "a")]
    offered = told_tools(sent(USER, tools=tools).request.tools)
    assert [tool["name"] for tool in offered] == ["z", "ToolSearch", "a"]


def test_calls_and_results_without_ids_of_their_own() -> None:
    """As the Vercel AI SDK replays them."""
    question = sent(USER, CALL, OUTPUT)
    _, (_, [call]), (_, [result]) = told_messages(question.request.messages)
    assert (call["id"], result["tool_use_id"]) == ("c", "c")
    assert (question.ignored, question.adjusted) == ((), ())


@pytest.mark.parametrize("output", ["", None, []])
def test_empty_result_is_a_result(output: Any) -> None:
    question = sent(USER, CALL, {**OUTPUT, "output": output})
    *_, (_, [result]) = told_messages(question.request.messages)
    assert result["tool_use_id"] == "c"
    assert not result.get("content")


def test_instructions_alone_are_asked() -> None:
    question = sent({"role": "developer", "content": "Say hello."})
    assert told_messages(question.request.messages) == [("user", "Say hello.")]
    assert question.request.system == ""
    assert question.adjusted == ("input[0].role",)


def test_blank_message_is_left_out_and_named() -> None:
    blank = {"role": "assistant", "content": [{"type": "output_text", "text": " \n"}]}
    question = sent(USER, blank, {"role": "user", "content": "two"})
    assert told_messages(question.request.messages) == [
        ("user", "one"),
        ("user", "two"),
    ]
    assert question.ignored == ("input[1].content[0]",)


def test_messages_of_one_role_stay_apart() -> None:
    question = sent(USER, {"role": "user", "content": "two"})
    assert told_messages(question.request.messages) == [
        ("user", "one"),
        ("user", "two"),
    ]


def test_developer_message_behind_the_answer_stays_there() -> None:
    """The case ``responses-developer-last``."""
    question = sent(
        USER,
        {"role": "assistant", "content": "two"},
        {"role": "developer", "content": "Now sum it up."},
    )
    assert told_messages(question.request.messages) == [
        ("user", "one"),
        ("assistant", "two"),
        ("system", "Now sum it up."),
    ]


@pytest.mark.parametrize(
    "item",
    [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "encrypted_content": "gAAAAABo_of_another_provider",
        },
        {
            "type": "image_generation_call",
            "id": "ig_1",
            "status": "completed",
            "result": None,
        },
    ],
)
def test_items_of_another_provider_are_left_out_and_named(item: dict[str, Any]) -> None:
    """The cases ``foreign-sealed-reasoning-item`` and ``foreign-item-kinds``."""
    earlier = {"role": "assistant", "content": "earlier"}
    question = sent(USER, item, earlier, {"role": "user", "content": "two"})
    assert told_messages(question.request.messages) == [
        ("user", "one"),
        ("assistant", "earlier"),
        ("user", "two"),
    ]
    [named] = question.ignored
    assert named.startswith("input[1]")


def test_own_tool_named_as_the_search_of_the_web_is_the_clients() -> None:
    search = {"type": "web_search"}
    tools = [{**LOOK, "name": "web_search"}, search]
    call = decode_responses(json.dumps({"input": "x", "tools": tools}).encode())
    [tool] = told_tools(call.request.tools)
    assert tool["input_schema"] == LOOK["parameters"]
    assert call.tools.identity(tool["name"]).name == "web_search"
