"""Answers of the Responses API, streamed and as one document."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.api.responses.input.request import (
    decode_responses,
)
from ccproxy.api.responses.lifecycle.stored import (
    decode_events,
)
from ccproxy.api.responses.output.response import ResponseDocument
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.errors import (
    ClaudeFailed,
    ContextLengthExceeded,
    Overloaded,
    RateLimited,
    StorageFailed,
)
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    Restarted,
    TextDelta,
    ThinkingDelta,
)
from tests.support.events import call_start, in_blocks
from tests.support.spec import response_errors, response_event_errors
from tests.unit.api.responses.samples import (
    FINISHED,
    START,
    USAGE,
    inner,
    parse,
    request,
    sealed,
    whole,
)


def stream(**fields: Any) -> ResponseStream:
    echo = decode_responses(request(**fields)).echo
    return ResponseStream("abc", echo, lambda: 1700000000.5)


def test_events_of_an_answer() -> None:
    encoder = stream()
    told = parse(whole(encoder, START, TextDelta("one"), TextDelta(" two"), FINISHED))
    assert [event["type"] for event in told] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    response = told[-1]["response"]
    assert response["id"] == "resp_abc"
    assert response["model"] == "claude-test-1"
    assert response["status"] == "completed"
    assert response["completed_at"] == response["created_at"] == 1700000000
    assert response["store"] is True
    [item] = response["output"]
    assert item["content"][0]["text"] == "one two"
    assert response["usage"] == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 13,
    }
    assert encoder.usage == USAGE


def test_request_is_echoed() -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "top_p": 0.25,
        "parallel_tool_calls": False,
        "truncation": "auto",
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"verbosity": "low"},
        "safety_identifier": "me",
        "prompt_cache_key": "key",
    }
    encoder = stream(**fields)
    response = parse(whole(encoder, START, FINISHED))[-1]["response"]
    assert response_errors(response) == []
    text = response.pop("text")
    assert text == {"format": {"type": "text"}, "verbosity": "low"}
    for name, value in fields.items():
        if name != "text":
            assert response[name] == value


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("max_tokens", "max_output_tokens"),
        ("model_context_window_exceeded", "max_output_tokens"),
        ("refusal", "content_filter"),
    ],
)
def test_answer_that_was_cut_short_is_incomplete(reason: str, told: str) -> None:
    data = whole(stream(), START, TextDelta("half"), Finished(reason, USAGE))
    *_, item_done, last = parse(data)
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": told}
    assert last["response"]["completed_at"] is None
    assert item_done["item"]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClaudeFailed("it broke"), "server_error"),
        (RateLimited("slow down"), "rate_limit_exceeded"),
        (ContextLengthExceeded("too long"), "invalid_prompt"),
    ],
)
def test_failure_is_the_last_event(error: Any, code: str) -> None:
    encoder = stream()
    data = whole(encoder, START, TextDelta("half"), Failed(error))
    *_, told, last = parse(data)
    assert told["type"] == "error"
    assert (told["code"], told["message"]) == (error.code, error.message)
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": code, "message": error.message}
    assert last["response"]["output"][0]["content"][0]["text"] == "half"
    assert encoder.error is error
    assert encoder.is_over


def test_each_call_is_an_item_of_its_own() -> None:
    data = whole(
        stream(),
        START,
        TextDelta("look"),
        call_start("toolu_1", "f"),
        InputJSONDelta('{"a"'),
        InputJSONDelta(": 1}"),
        call_start("toolu_2", "g"),
        Finished("tool_use", USAGE),
    )
    response = parse(data)[-1]["response"]
    assert response["status"] == "completed"
    message, first, second = response["output"]
    assert message["type"] == "message"
    assert (first["call_id"], first["name"]) == ("toolu_1", "f")
    assert first["arguments"] == '{"a": 1}'
    # Without arguments it is still a call of an object.
    assert (second["call_id"], second["arguments"]) == ("toolu_2", "{}")
    assert len({item["id"] for item in response["output"]}) == 3


def test_thinking_is_an_item_of_its_own() -> None:
    thinking = ThinkingDelta("h"), ThinkingDelta("m")
    data = whole(stream(), START, *thinking, TextDelta("yes"), FINISHED)
    response = parse(data)[-1]["response"]
    reasoning, message = response["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert message["content"][0]["text"] == "yes"
    assert len({reasoning["id"], message["id"]}) == 2


def test_queued_response_is_told_first() -> None:
    encoder = stream(background=True)
    told = parse([*encoder.queue(), *whole(encoder, START, TextDelta("a"), FINISHED)])
    kinds = [event["type"] for event in told]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert [event["response"]["status"] for event in told[:3]] == [
        "queued",
        "queued",
        "in_progress",
    ]
    for event in told:
        assert response_event_errors(event) == []


def test_cancelled_response_ends_where_it_was() -> None:
    encoder = stream(background=True)
    data = [*encoder.queue(), *encoder.encode([START, TextDelta("half")])]
    told = parse([*data, *encoder.cancel(), *encoder.conclude()])
    assert told[-1]["type"] == "response.failed"
    response = told[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["error"] is None
    assert response["output"][0]["content"][0]["text"] == "half"
    assert response_errors(response) == []
    assert [response_event_errors(event) for event in told] == [[]] * len(told)


def test_what_could_not_be_kept_has_failed() -> None:
    encoder = stream()
    data = encoder.encode([START, TextDelta("all"), FINISHED])
    assert parse([*data, *encoder.conclude()])[-1]["type"] == "response.completed"
    told = parse([*data, *encoder.conclude(StorageFailed("disk full"))])
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert told[-1]["response"]["error"]["message"] == "disk full"
    assert response_errors(told[-1]["response"]) == []


def test_a_request_of_many_lines_is_repeated_on_one() -> None:
    schema = {"type": "object", "properties": {"a b": {"enum": ["\r\n "]}}}
    tool = {"type": "function", "name": "look", "parameters": schema}
    form = {"type": "json_schema", "name": "answer", "schema": schema}
    body = {"input": "hello", "tools": [tool], "text": {"format": form}}
    lines = json.dumps(body, indent=1).replace("\n", "\r\n").encode()
    encoder = ResponseStream("abc", decode_responses(lines).echo, lambda: 1.0)
    # The data of a server-sent event ends at the line's end.
    last = parse(whole(encoder, START, FINISHED))[-1]["response"]
    assert last["tools"][0]["parameters"] == schema
    assert last["text"]["format"]["schema"] == schema


def test_a_stream_that_was_kept_has_the_same_events() -> None:
    texts = [TextDelta("a\n\nb"), TextDelta("\u2028\x85\x1c"), TextDelta("c")]
    wire = whole(stream(), START, *texts, Failed(Overloaded("busy")))
    assert decode_events(b"\n".join(event.data for event in wire)) == wire
    # An event's place in the list is its number.
    assert [event["sequence_number"] for event in parse(wire)] == [*range(len(wire))]


ends = st.one_of(
    st.sampled_from(
        ["end_turn", "max_tokens", "refusal", "tool_use", "pause_turn", "of tomorrow"]
    ).map(lambda reason: Finished(reason, USAGE)),
    st.just(Failed(ClaudeFailed("it broke"))),
)


@given(st.lists(inner, max_size=15), ends, st.booleans())
def test_any_answer_keeps_the_rules(
    middle: Sequence[Event], end: Event, one_by_one: bool
) -> None:
    events: list[Event] = [START, *middle, end]
    encoder = sealed(include=["reasoning.encrypted_content"])
    batches = [[event] for event in events] if one_by_one else [events]
    data = [event for batch in batches for event in encoder.encode(batch)]
    told = parse([*data, *encoder.conclude()])
    for event in told:
        assert response_event_errors(event) == []
    opened: dict[str, str] = {}
    done: list[Any] = []
    for event in told:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert opened == {}
            opened[event["item"]["id"]] = ""
            assert event["output_index"] == len(done)
        elif kind.endswith(("_text.delta", "_arguments.delta")):
            opened[event["item_id"]] += event["delta"]
        elif kind.endswith("_text.done"):
            assert opened[event["item_id"]] == event["text"]
        elif kind.endswith("_arguments.done"):
            assert opened[event["item_id"]] == event["arguments"]
        elif kind == "response.output_item.done":
            item = event["item"]
            parts = item.get("content") or item.get("summary") or ()
            # Thinking need not show anything.
            bare = [item.get("arguments", "")]
            told_texts = [part["text"] for part in parts] or bare
            assert told_texts == [opened.pop(item["id"])]
            done.append(item)
    terminal = ("response.completed", "response.incomplete", "response.failed")
    assert [e["type"] for e in told if e["type"] in terminal] == [told[-1]["type"]]
    assert told[-1]["response"]["output"] == done
    assert response_errors(told[-1]["response"]) == []
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "".join(
        e["delta"] for e in told if e["type"] == "response.output_text.delta"
    )


def one_after_the_other(events: list[Event]) -> list[Event]:
    """The events without input of a call that another block has followed."""
    kept: list[Event] = []
    for event in events:
        follows = kept[-1:] and isinstance(kept[-1], ContentBlockStart | InputJSONDelta)
        if follows or not isinstance(event, InputJSONDelta):
            kept.append(event)
    return kept


pieces = st.lists(inner, max_size=10).map(one_after_the_other)


@given(pieces, pieces)
def test_document_is_what_a_stream_ends_with(
    first: list[Event], second: list[Event]
) -> None:
    """The first try of the last message is void; nothing else is lost."""
    streamed = stream()
    streamed.encode([START, *first, START, *second, FINISHED])
    collector = ResponseDocument(stream())
    cut: list[Event] = [TextDelta("to be cut"), ThinkingDelta("too")]
    collector.receive([*in_blocks([START, *first, START, *cut])])
    assert not collector.is_over
    collector.receive([*in_blocks([Restarted(), START, *second, FINISHED])])
    assert collector.is_over
    document = json.loads(collector.encode())
    assert document == json.loads(streamed.response.encode())
    assert response_errors(document) == []
    assert (collector.model, collector.usage) == ("claude-test-1", USAGE)


def test_document_of_a_failure_is_its_error() -> None:
    collector = ResponseDocument(stream())
    error = ClaudeFailed("it broke")
    collector.receive([*in_blocks([START, TextDelta("half"), Failed(error)])])
    assert collector.is_over
    assert collector.error is error


def test_nothing_follows_the_end() -> None:
    encoder = stream()
    encoder.encode([START, FINISHED])
    assert not encoder.encode([TextDelta("late"), FINISHED])


def test_a_refusal_is_an_item_behind_the_part_of_the_answer() -> None:
    details = Raw(b'{"type":"refusal","category":"bio","explanation":"Not this."}')
    refused = Finished("refusal", USAGE, stop_details=details)
    told = parse(whole(sealed(), START, TextDelta("so"), refused))
    response = told[-1]["response"]
    assert response["incomplete_details"] == {"reason": "content_filter"}
    said, explained = response["output"]
    assert (said["status"], explained["status"]) == ("incomplete", "completed")
    part = {"type": "refusal", "refusal": "Not this."}
    assert explained["content"] == [part]
    assert [e["type"] for e in told if e.get("output_index") == 1] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.refusal.delta",
        "response.refusal.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert [e["refusal"] for e in told if e["type"].endswith("refusal.done")] == [
        "Not this."
    ]
    assert response_errors(response) == []
    assert [response_event_errors(event) for event in told] == [[]] * len(told)
