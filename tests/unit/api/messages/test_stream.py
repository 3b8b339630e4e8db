"""Answers of the Messages API, streamed and as one document."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.api.messages.response import MessageDocument
from ccproxy.api.messages.schemas import MessageMeta
from ccproxy.api.messages.stream import MessageStream, ThinkingForm
from ccproxy.core.blocks import Block, text_block, thinking_block, tool_use_block
from ccproxy.core.encoding import WireEvent
from ccproxy.core.errors import (
    ClaudeFailed,
    RateLimited,
)
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    Usage,
)
from tests.unit.api.messages.samples import SHOWN, SIGNED_ONLY

HEADING = MessageMeta(id="msg_1", request_id="req_1")
USAGE = Usage(input_tokens=3, cache_read_tokens=2, output_tokens=7, thinking_tokens=4)
FINISHED = Finished("end_turn", USAGE)
CALLED = Finished("tool_use", USAGE)
START = MessageStart("claude-test-1", Usage(input_tokens=3), "msg_of_the_provider")


def frames(events: Sequence[WireEvent]) -> list[dict[str, Any]]:
    """The events of a stream; their form is checked on the way."""
    told = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [event["type"] for event in told]
    return told


def streamed(*events: Event, thinking: ThinkingForm = SHOWN) -> list[dict[str, Any]]:
    return frames(MessageStream(HEADING, thinking).encode(events))


def document(*events: Event, thinking: ThinkingForm = SHOWN) -> dict[str, Any]:
    collector = MessageDocument(HEADING, thinking)
    collector.receive(events)
    assert collector.is_over
    message: dict[str, Any] = json.loads(collector.encode())
    return message


def accumulated(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of a stream; checks the order on the way."""
    assert [event["type"] for event in told[:2]] == ["message_start", "ping"]
    message: dict[str, Any] = told[0]["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    pieces: list[str] = []
    is_open = False
    for event in told[2:-2]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
                is_open, pieces = True, []
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(message["content"]) - 1
                _add(message["content"][-1], event["delta"], pieces)
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(message["content"]) - 1
                block = message["content"][-1]
                if "input" in block and pieces:
                    block["input"] = json.loads("".join(pieces))
                is_open = False
            case other:
                raise AssertionError(other)
    assert not is_open
    assert [event["type"] for event in told[-2:]] == ["message_delta", "message_stop"]
    return {**message, **told[-2]["delta"], "usage": told[-2]["usage"]}


def _add(block: dict[str, Any], delta: dict[str, Any], pieces: list[str]) -> None:
    match delta:
        case {"type": "text_delta", "text": piece}:
            assert block["type"] == "text"
            block["text"] += piece
        case {"type": "thinking_delta", "thinking": piece}:
            assert block["type"] == "thinking"
            block["thinking"] += piece
        case {"type": "citations_delta", "citation": citation}:
            block.setdefault("citations", []).append(citation)
        case {"type": "signature_delta", "signature": signature}:
            assert block["type"] == "thinking"
            block["signature"] = signature
        case {"type": "input_json_delta", "partial_json": piece}:
            assert block["type"] == "tool_use"
            pieces.append(piece)
        case other:
            raise AssertionError(other)


def said(*pieces: str, index: int = 0) -> list[Event]:
    """A block of text as the provider streams it."""
    deltas = [TextDelta(piece, index) for piece in pieces]
    began = ContentBlockStart(text_block(""), index)
    return [began, *deltas, ContentBlockStop(index)]


def called(*pieces: str, identifier: str = "a", index: int = 0) -> list[Event]:
    """A call as the provider streams it."""
    deltas = [InputJSONDelta(piece, index) for piece in pieces]
    began = ContentBlockStart(tool_use_block(identifier, "t", {}), index)
    return [began, *deltas, ContentBlockStop(index)]


def thought(*pieces: str, signature: str = "s", index: int = 0) -> list[Event]:
    """A block of thinking as the provider streams it."""
    deltas: list[Event] = [ThinkingDelta(piece, index) for piece in pieces]
    if signature:
        deltas.append(SignatureDelta(signature, index))
    began = ContentBlockStart(thinking_block("", ""), index)
    return [began, *deltas, ContentBlockStop(index)]


def whole(raw: dict[str, Any], index: int = 0) -> list[Event]:
    """A block that is whole at once."""
    block = Block.decode(json.dumps(raw).encode())
    return [ContentBlockStart(block, index), ContentBlockStop(index)]


def test_a_stream_of_text() -> None:
    told = streamed(START, *said("one", " \u2028two"), FINISHED)
    assert [event["type"] for event in told] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = told[0]["message"]
    assert (start["id"], start["model"]) == ("msg_1", "claude-test-1")
    assert start["usage"]["input_tokens"] == 3
    assert told[-2]["delta"]["stop_reason"] == "end_turn"
    assert told[-2]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_the_pieces_of_a_text_are_told_alike() -> None:
    """The way of the many deltas is a short cut; the others go the long one."""
    stream = MessageStream(HEADING)
    began: list[Event] = [START, *said(), ContentBlockStart(text_block(""), 1)]
    stream.encode(began)
    assert frames(stream.encode([TextDelta('a"\n', 1)])) == [
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "text_delta", "text": 'a"\n'},
        }
    ]


@pytest.mark.parametrize(
    ("reason", "sequence", "details"),
    [
        ("end_turn", None, None),
        ("stop_sequence", "X", None),
        ("max_tokens", None, None),
        ("refusal", None, {"type": "refusal", "category": "cyber"}),
        ("tool_use", None, None),
        ("pause_turn", None, None),
        ("model_context_window_exceeded", None, None),
        ("of_tomorrow", None, None),
    ],
)
def test_why_it_stopped(reason: str, sequence: str | None, details: Any) -> None:
    raw = None if details is None else Raw(json.dumps(details).encode())
    end = Finished(reason, USAGE, sequence, raw)
    for message in (document(START, end), accumulated(streamed(START, end))):
        told = (message["stop_reason"], message["stop_sequence"])
        assert (*told, message["stop_details"]) == (reason, sequence, details)


def usage(**told: Any) -> Usage:
    """A usage of which the provider has told more."""
    return Usage(input_tokens=3, output_tokens=7, details=raw_fields(**told))


def test_usage_is_told_as_the_provider_told_it() -> None:
    told = {
        "input_tokens": 3,
        "output_tokens": 7,
        "cache_read_input_tokens": None,
        "cache_creation": {"ephemeral_5m_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
        "of_tomorrow": [1],
    }
    message = document(START, Finished("end_turn", usage(**told)))
    assert message["usage"] == {k: v for k, v in told.items() if v is not None}


def test_a_count_that_was_not_told_is_not_made_up() -> None:
    told = {"input_tokens": 3, "output_tokens": 7}
    message = document(START, Finished("end_turn", usage(**told)))
    assert message["usage"] == told


def test_a_sum_has_the_details_of_both_messages() -> None:
    first = usage(
        input_tokens=3,
        cache_creation={"ephemeral_5m_input_tokens": 2},
        iterations=[{"type": "message"}],
        service_tier="priority",
    )
    second = usage(
        input_tokens=3,
        cache_creation={"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        iterations=[{"type": "message", "input_tokens": 1}],
        service_tier="standard",
        speed=None,
        server_tool_use={"web_search_requests": 1},
    )
    message = document(START, Finished("end_turn", first + second))
    assert message["usage"] == {
        "input_tokens": 6,
        "output_tokens": 14,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 5,
            "ephemeral_1h_input_tokens": 4,
        },
        "iterations": [{"type": "message"}, {"type": "message", "input_tokens": 1}],
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 1},
    }


def test_other_fields_of_the_message_are_told() -> None:
    container, edits = {"id": "c"}, {"applied_edits": [1]}
    begun = evolve(START, fields=raw_fields(container=None, of_tomorrow=1))
    end = Finished(
        "end_turn",
        USAGE,
        delta_fields=raw_fields(container=container),
        event_fields=raw_fields(context_management=edits),
    )
    told = {"of_tomorrow": 1, "container": container, "context_management": edits}
    message = document(begun, end)
    assert {name: message.get(name) for name in told} == told
    events = streamed(begun, end)
    assert events[0]["message"]["of_tomorrow"] == 1
    assert events[-2]["delta"]["container"] == container
    assert events[-2]["context_management"] == edits


def raw_fields(**fields: Any) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}


CITATION = {"type": "char_location", "cited_text": "a", "document_index": 0}
CITED = OpaqueDelta(
    json.dumps({"type": "citations_delta", "citation": CITATION}).encode(), 2
)


SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"a": 1}]}
EVERYTHING: tuple[Event, ...] = (
    START,
    *thought("h", "m"),
    *whole({"type": "redacted_thinking", "data": "d"}, 1),
    ContentBlockStart(text_block(""), 2),
    TextDelta("Look.", 2),
    CITED,
    ContentBlockStop(2),
    *whole(SEARCH, 3),
    *whole(FOUND, 4),
    AgentToolUsed("Read", "{}"),
    MessageStart("claude-test-1"),
    *thought(signature="alone"),
    ContentBlockStart(text_block(""), 1),
    TextDelta("And", 1),
    UpstreamRetry("rate_limit", 1, 1.0),
    TextDelta(" so.", 1),
    ContentBlockStop(1),
    *called('{"x":', "1}", index=2),
    *called(identifier="b", index=3),
    CALLED,
)


def test_every_kind_of_block() -> None:
    message = document(*EVERYTHING)
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Look.", "citations": [CITATION]},
        SEARCH,
        FOUND,
        {"type": "thinking", "thinking": "[Read {}]\n", "signature": ""},
        {"type": "thinking", "thinking": "", "signature": "alone"},
        {"type": "text", "text": "And so."},
        {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "t", "input": {}},
    ]
    assert accumulated(streamed(*EVERYTHING)) == message


def test_thinking_that_nobody_asked_for_is_not_shown() -> None:
    plain = ThinkingForm()
    message = document(*EVERYTHING, thinking=plain)
    kinds = [block["type"] for block in message["content"]]
    shown = ["text", SEARCH["type"], FOUND["type"], "text", "tool_use", "tool_use"]
    assert kinds == shown
    assert accumulated(streamed(*EVERYTHING, thinking=plain)) == message


def test_thinking_of_which_only_the_signature_is_wanted() -> None:
    message = document(*EVERYTHING, thinking=SIGNED_ONLY)
    first = {"type": "thinking", "thinking": "", "signature": "s"}
    assert message["content"][0] == first
    assert accumulated(streamed(*EVERYTHING, thinking=SIGNED_ONLY)) == message


def test_a_delta_that_nobody_knows_is_told() -> None:
    delta = {"type": "of_tomorrow", "n": 1.50}
    told = streamed(
        START,
        ContentBlockStart(Block.decode(b'{"type":"of_tomorrow"}')),
        OpaqueDelta(json.dumps(delta).encode()),
        ContentBlockStop(),
        FINISHED,
    )
    assert told[2]["content_block"] == {"type": "of_tomorrow"}
    assert told[3]["delta"] == delta


@pytest.mark.parametrize(
    ("pieces", "read"), [((), {}), (('{"x":',), {"arguments": '{"x":'})]
)
def test_a_call_that_was_cut_off_is_there(
    pieces: tuple[str, ...], read: dict[str, Any]
) -> None:
    """As the provider does it: the client sees where the answer was cut."""
    cut = Finished("max_tokens", USAGE)
    message = document(START, *said("so"), *called(*pieces, index=1), cut)
    text, call = message["content"]
    assert (text["type"], call["input"]) == ("text", read)
    assert message["stop_reason"] == "max_tokens"


def test_a_stream_that_was_begun_again_goes_on_in_its_block() -> None:
    told = streamed(
        *(START, *said("one")[:-1], Restarted()),
        *(MessageStart("claude-test-1"), *said("one", " two"), FINISHED),
    )
    [block] = accumulated(told)["content"]
    assert block["text"] == "one two"


def test_a_document_that_was_begun_again_has_the_second_answer() -> None:
    message = document(
        START, *said("one")[:-1], Restarted(), START, *said("two"), FINISHED
    )
    assert [block["text"] for block in message["content"]] == ["two"]


def test_an_error_is_the_last_of_a_stream() -> None:
    failed = Failed(RateLimited("too much"))
    stream = MessageStream(HEADING)
    told = frames(stream.encode((START, *said("one"), failed, FINISHED)))
    assert stream.is_over
    assert isinstance(stream.error, RateLimited)
    assert told[-1] == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "too much"},
        "request_id": "req_1",
    }
    assert not stream.encode((FINISHED,))


def test_blocks_that_nobody_ended_are_ended() -> None:
    told = streamed(
        *(START, *said("one")[:-1], MessageStart("claude-test-1")),
        *(*said("two")[:-1], FINISHED),
    )
    assert [block["text"] for block in accumulated(told)["content"]] == ["one", "two"]


def test_a_stream_that_ends_before_it_begins() -> None:
    message = accumulated(streamed(FINISHED))
    assert (message["content"], message["model"]) == ([], "")


PIECES = st.lists(st.text('ab{}"\\\n\u2028\U0001f600', min_size=1, max_size=4))
MAKERS = st.sampled_from(
    [
        lambda index, pieces: said(*pieces, index=index),
        lambda index, pieces: thought(*pieces, index=index),
        lambda index, pieces: called(*pieces, index=index),
        lambda index, pieces: called("{", '"a":1}', index=index),
        lambda index, _: whole({"type": "redacted_thinking", "data": "d"}, index),
        lambda index, _: whole(FOUND, index),
        lambda _, __: [AgentToolUsed("Read", "{}")],
        lambda _, __: [UpstreamRetry("overloaded", 1, 1.0)],
    ]
)


FORMS = st.sampled_from([ThinkingForm(), SHOWN, SIGNED_ONLY])


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """One or more messages of any blocks."""
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 3))):
        events.append(START)
        for index in range(draw(st.integers(0, 4))):
            events += draw(MAKERS)(index, draw(PIECES))
    return events


@given(answers(), FORMS, st.sampled_from([FINISHED, CALLED]), st.data())
def test_any_stream_keeps_the_order_and_is_the_document(
    events: list[Event], form: ThinkingForm, end: Finished, data: st.DataObject
) -> None:
    told = [*events, end]
    builder = MessageBuilder()
    builder.receive(told)
    stream = MessageStream(HEADING, form)
    cut = data.draw(st.integers(0, len(told)))
    pieces = [*stream.encode(told[:cut]), *stream.encode(told[cut:])]
    if builder.is_whole:
        message = document(*told, thinking=form)
        assert accumulated(frames(pieces)) == message


ANYTHING: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, st.just("a"), st.integers(0, 2)),
    st.builds(InputJSONDelta, st.just("{"), st.integers(0, 2)),
    st.builds(ContentBlockStart, st.just(text_block("")), st.integers(0, 2)),
    st.builds(ContentBlockStart, st.just(thinking_block("", "")), st.integers(0, 2)),
    st.builds(ContentBlockStop, st.integers(0, 2)),
    st.sampled_from([START, Restarted(), Failed(ClaudeFailed("no")), FINISHED, CALLED]),
)


@given(st.lists(ANYTHING), FORMS)
def test_no_order_of_events_breaks_a_stream(
    events: list[Event], form: ThinkingForm
) -> None:
    stream = MessageStream(HEADING, form)
    kinds = [event["type"] for event in frames(stream.encode(events))]
    if "error" in kinds:
        assert kinds.pop() == "error"
        assert stream.error is not None
    begun = {"content_block_start", "content_block_stop", "message_delta"}
    assert not begun.intersection(
        kinds[: kinds.index("message_start")] if kinds else ()
    )
    collector = MessageDocument(HEADING, form)
    collector.receive(events)
    if collector.is_over and collector.error is None:
        json.loads(collector.encode())
