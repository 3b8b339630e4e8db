"""Answers of chat completions: one document, or a stream of chunks."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.api.chat.response import ChatDocument, CompletionMeta
from ccproxy.api.chat.stream import ChatStream
from ccproxy.core.blocks import Block
from ccproxy.core.encoding import sse_frames
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    InternalError,
    Overloaded,
    RateLimited,
)
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    Usage,
)
from ccproxy.web.error_formats import openai_error
from tests.support.events import call_start, in_blocks
from tests.support.spec import chunk_errors, document_errors, error_errors

HEADING = CompletionMeta(id="chatcmpl-1", created=1_700_000_000)
MODEL = "claude-sonnet-4-5-20250929"
STARTED = MessageStart(MODEL)
USAGE = Usage(
    input_tokens=9,
    cache_read_tokens=3,
    cache_write_tokens=4,
    output_tokens=20,
    thinking_tokens=5,
)
FINISHED = Finished("end_turn", USAGE)
LINE_ENDS = ("\u2028", "\u2029", "\u0085")


# Reading what was written.


def sse(stream: bytes) -> list[str]:
    """The data of each event, read as simply as the standard allows."""
    found: list[str] = []
    data: list[str] = []
    for line in stream.decode().split("\n"):
        name, _, value = line.partition(": ")
        if line:
            assert name == "data", f"what is {line!r}?"
            data.append(value)
        elif data:
            found.append("\n".join(data))
            data.clear()
    assert not data, "the last event is not closed by a blank line"
    return found


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """All but the last word of a stream."""
    return [json.loads(data) for data in sse(stream) if data != "[DONE]"]


def deltas(stream: bytes, index: int = 0) -> list[dict[str, Any]]:
    return [
        choice["delta"]
        for chunk in chunks(stream)
        for choice in chunk["choices"]
        if choice["index"] == index
    ]


def streamed(
    *events: Event, choices: int = 1, include_usage: bool = False, choice: int = 0
) -> bytes:
    stream = ChatStream(HEADING, choices, include_usage)
    return sse_frames(stream.encoders[choice](events))


def document(*events: Event) -> dict[str, Any]:
    collected = ChatDocument(HEADING, 1)
    collected.receivers[0]([*in_blocks(events)])
    decoded: dict[str, Any] = json.loads(collected.encode())
    return decoded


# Any answers to any request.

TEXTS = st.text(
    st.sampled_from('ab "\\\n\r\t\0\u2028\u2029\u0085é😀\x1b\x7f')
    | st.characters(exclude_categories=["Cs"]),
    max_size=8,
)
USAGES = st.builds(
    Usage,
    input_tokens=st.integers(0, 10**6),
    cache_read_tokens=st.integers(0, 10**6),
    cache_write_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
    thinking_tokens=st.integers(0, 10**6),
)
FAILURES = st.builds(
    Failed,
    st.builds(
        ClaudeFailed, TEXTS, param=st.none() | TEXTS, retry_after_seconds=st.none()
    ),
)


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[Event]:
    events: list[Event] = []
    while text:
        size = draw(st.integers(1, len(text)))
        events.append(TextDelta(text[:size]))
        text = text[size:]
    return events


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, list[Event]]:
    """A message of the model, with what it says once all restarts are over."""
    text = draw(TEXTS)
    events: list[Event] = [STARTED]
    for cut in draw(st.lists(st.integers(0, len(text)), max_size=2)):
        events += draw(pieces_of(text[:cut]))
        events += [UpstreamRetry("overloaded", 1, 0.5), Restarted(), STARTED]
    events += draw(st.sampled_from([[], [ThinkingDelta("hm")]]))
    return text, events + draw(pieces_of(text))


@frozen
class Answer:
    """One choice's events up to its end, and what they say in all."""

    text: str
    events: list[Event]
    reason: str
    usage: Usage


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    said = draw(st.lists(messages(), min_size=1, max_size=3))
    events = draw(st.sampled_from([[], [UpstreamRetry("rate_limit", 1, 1.0)]]))
    return Answer(
        "".join(text for text, _ in said),
        [*events, *(event for _, message in said for event in message)],
        draw(st.sampled_from(sorted(REASONS))),
        draw(USAGES),
    )


REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "length",
    "of_tomorrow": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    # Without a call there is nothing that the client could do.
    "tool_use": "stop",
}
ALL_ANSWERS = st.lists(answers(), min_size=1, max_size=3)
Batch = tuple[int, list[Event]]


@st.composite
def interleaved(draw: st.DrawFn, lanes: list[list[Event]]) -> list[Batch]:
    """The events of several choices as they may come: in batches, in any order."""
    left = dict(enumerate(lanes))
    batches: list[Batch] = []
    while left:
        lane = draw(st.sampled_from(sorted(left)))
        size = draw(st.integers(1, len(left[lane])))
        batches.append((lane, left[lane][:size]))
        left[lane] = left[lane][size:]
        if not left[lane]:
            del left[lane]
    return batches


def whole(answers: Sequence[Answer]) -> list[list[Event]]:
    return [[*a.events, Finished(a.reason, a.usage)] for a in answers]


@given(ALL_ANSWERS, st.booleans(), st.data())
def test_any_stream_keeps_the_rules(
    answers: list[Answer], include_usage: bool, data: st.DataObject
) -> None:
    encoder = ChatStream(HEADING, len(answers), include_usage)
    batches = data.draw(interleaved(whole(answers)))
    wire = [
        event for batch in batches for event in encoder.encoders[batch[0]](batch[1])
    ]
    stream = sse_frames(wire)
    assert encoder.is_over
    assert encoder.error is None
    *frames, last = sse(stream)
    assert last == "[DONE]"
    decoded = [json.loads(frame) for frame in frames]
    assert [error for chunk in decoded for error in chunk_errors(chunk)] == []
    heads = {(c["id"], c["created"], c["model"], c["object"]) for c in decoded}
    assert heads == {
        (HEADING.id, HEADING.created, MODEL, "chat.completion.chunk"),
    }
    for index, answer in enumerate(answers):
        check_choice(decoded, index, answer)
    check_usage(decoded, answers, include_usage)
    assert not any(end.encode() in stream for end in LINE_ENDS)


def check_choice(decoded: list[dict[str, Any]], index: int, answer: Answer) -> None:
    """One choice: the role first, then text, last its only finish reason."""
    own = [c for chunk in decoded for c in chunk["choices"] if c["index"] == index]
    first, *between, last = own
    assert first["delta"]["role"] == "assistant"
    assert first["delta"]["content"] == ""
    deltas = [choice["delta"] for choice in between]
    assert all(d.keys() in ({"content"}, {"reasoning_content"}) for d in deltas)
    assert all(text for delta in deltas for text in delta.values())
    assert "".join(delta.get("content", "") for delta in deltas) == answer.text
    assert last["delta"] == {}
    assert last["finish_reason"] == REASONS[answer.reason]
    assert all(choice["finish_reason"] is None for choice in own[:-1])


def check_usage(
    decoded: list[dict[str, Any]], answers: list[Answer], include_usage: bool
) -> None:
    """With usage: null in every chunk but one more, which has no choices."""
    if not include_usage:
        assert all("usage" not in chunk for chunk in decoded)
        assert all(chunk["choices"] for chunk in decoded)
        return
    *before, last = decoded
    assert all(chunk["usage"] is None for chunk in before)
    assert all(chunk["choices"] for chunk in before)
    assert last["choices"] == []
    total = sum((answer.usage for answer in answers), start=Usage())
    assert last["usage"]["prompt_tokens"] == total.prompt_tokens
    assert last["usage"]["completion_tokens"] == total.output_tokens


@given(ALL_ANSWERS, st.data())
def test_any_document_is_valid_and_whole(
    answers: list[Answer], data: st.DataObject
) -> None:
    collected = ChatDocument(HEADING, len(answers))
    for lane, events in data.draw(interleaved(whole(answers))):
        assert not collected.is_over
        collected.receivers[lane]([*in_blocks(events)])
    assert collected.is_over
    assert collected.error is None
    decoded = json.loads(collected.encode())
    assert document_errors(decoded) == []
    told = [choice["message"]["content"] for choice in decoded["choices"]]
    assert told == [answer.text for answer in answers]
    reasons = [choice["finish_reason"] for choice in decoded["choices"]]
    assert reasons == [REASONS[answer.reason] for answer in answers]


@given(answers())
def test_stream_and_document_tell_the_same(answer: Answer) -> None:
    [events] = whole([answer])
    joined = "".join(delta.get("content") or "" for delta in deltas(streamed(*events)))
    assert joined == document(*events)["choices"][0]["message"]["content"]


@given(ALL_ANSWERS, st.integers(0, 2), FAILURES, st.booleans(), st.data())
def test_a_failed_stream_ends_with_its_error(
    answers: list[Answer],
    which: int,
    failed: Failed,
    include_usage: bool,
    data: st.DataObject,
) -> None:
    lanes = whole(answers)
    lanes[which % len(lanes)][-1] = failed
    encoder = ChatStream(HEADING, len(answers), include_usage)
    batches = data.draw(interleaved(lanes))
    wire = [
        event for batch in batches for event in encoder.encoders[batch[0]](batch[1])
    ]
    stream = sse_frames(wire)
    assert encoder.is_over
    assert encoder.error is failed.error
    *frames, last = sse(stream)
    assert json.loads(last)["error"]["message"] == failed.error.message
    assert error_errors(json.loads(last)) == []
    assert "[DONE]" not in frames
    assert [e for frame in frames for e in chunk_errors(json.loads(frame))] == []
    assert all(json.loads(frame)["choices"] for frame in frames)


@given(ALL_ANSWERS, st.integers(0, 2), FAILURES, st.data())
def test_a_failed_document_tells_why(
    answers: list[Answer], which: int, failed: Failed, data: st.DataObject
) -> None:
    lanes = whole(answers)
    lanes[which % len(lanes)][-1] = failed
    collected = ChatDocument(HEADING, len(answers))
    for lane, events in data.draw(interleaved(lanes)):
        collected.receivers[lane]([*in_blocks(events)])
    assert collected.is_over
    assert collected.error is failed.error


@given(TEXTS)
@example("split\u2028here")
def test_an_error_has_no_raw_line_ends(message: str) -> None:
    stream = streamed(STARTED, Failed(ClaudeFailed(message)))
    assert not any(end.encode() in stream for end in LINE_ENDS)
    assert json.loads(sse(stream)[-1])["error"]["message"] == message


# The stream, piece by piece.


def test_the_role_comes_as_soon_as_the_model_begins() -> None:
    [chunk] = chunks(streamed(STARTED))
    assert chunk == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }


def test_each_delta_is_a_chunk() -> None:
    stream = streamed(STARTED, TextDelta("one"), TextDelta(" two"))
    assert deltas(stream)[1:] == [{"content": "one"}, {"content": " two"}]


def test_the_end_is_a_chunk_of_its_own() -> None:
    encoder = ChatStream(HEADING, 1, False)
    encoder.encoders[0]([STARTED, TextDelta("one")])
    *frames, last = sse(sse_frames(encoder.encoders[0]([FINISHED])))
    [choice] = json.loads(frames[0])["choices"]
    assert choice == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
        "native_finish_reason": "end_turn",
    }
    assert (len(frames), last) == (1, "[DONE]")


def test_text_before_any_message_has_its_role_too() -> None:
    told = deltas(streamed(TextDelta("one")))
    assert [delta.get("role") for delta in told] == ["assistant", None]


def test_an_answer_without_text_has_role_and_reason() -> None:
    stream = streamed(STARTED, Finished("refusal", USAGE))
    choices = [chunk["choices"][0] for chunk in chunks(stream)]
    assert [choice["finish_reason"] for choice in choices] == [None, "content_filter"]
    assert choices[0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("event", [UpstreamRetry("overloaded", 1, 0.5), Restarted()])
def test_some_events_are_no_chunks(event: Event) -> None:
    assert streamed(event) == b""


def test_the_role_is_told_once_however_often_the_model_begins() -> None:
    encoder = ChatStream(HEADING, 1, False)
    encoder.encoders[0]([STARTED, TextDelta("on"), Restarted()])
    assert not encoder.encoders[0]([STARTED])
    assert deltas(sse_frames(encoder.encoders[0]([TextDelta("one")]))) == [
        {"content": "e"}
    ]


def test_a_second_answer_that_differs_is_an_error() -> None:
    stream = streamed(
        STARTED, TextDelta("one"), Restarted(), STARTED, TextDelta("two"), FINISHED
    )
    assert json.loads(sse(stream)[-1])["error"]["code"] == "claude_failed"
    assert b"[DONE]" not in stream


def test_the_last_choice_ends_the_stream() -> None:
    encoder = ChatStream(HEADING, 2, False)
    assert b"[DONE]" not in sse_frames(encoder.encoders[1]([STARTED, FINISHED]))
    assert not encoder.is_over
    assert sse_frames(encoder.encoders[0]([STARTED, FINISHED])).endswith(
        b"data: [DONE]\n\n"
    )
    assert encoder.is_over


def test_choices_are_told_apart() -> None:
    encoder = ChatStream(HEADING, 2, False)
    stream = sse_frames(encoder.encoders[1]([STARTED, TextDelta("b")]))
    stream += sse_frames(encoder.encoders[0]([STARTED, TextDelta("a")]))
    assert deltas(stream, 0)[1:] == [{"content": "a"}]
    assert deltas(stream, 1)[1:] == [{"content": "b"}]


def test_nothing_follows_the_end() -> None:
    encoder = ChatStream(HEADING, 1, True)
    encoder.encoders[0]([STARTED, FINISHED])
    assert not encoder.encoders[0]([TextDelta("more"), FINISHED])


def test_nothing_follows_an_error() -> None:
    encoder = ChatStream(HEADING, 2, True)
    encoder.encoders[0]([Failed(Overloaded("busy"))])
    assert not encoder.encoders[0]([STARTED, TextDelta("more"), FINISHED])
    assert not encoder.encoders[1]([STARTED, TextDelta("more"), FINISHED])


def test_an_error_before_the_answer_is_all_there_is() -> None:
    stream = streamed(Failed(RateLimited("wait")))
    assert [json.loads(data) for data in sse(stream)] == [
        {
            "error": {
                "message": "wait",
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limit_exceeded",
            }
        }
    ]


def test_the_stream_knows_its_model_and_usage() -> None:
    encoder = ChatStream(HEADING, 2, False)
    assert (encoder.model, encoder.usage) == ("", Usage())
    encoder.encoders[0]([STARTED, FINISHED])
    assert (encoder.model, encoder.usage) == (MODEL, USAGE)
    encoder.encoders[1]([MessageStart("another"), FINISHED])
    assert (encoder.model, encoder.usage) == (MODEL, USAGE + USAGE)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_what_unicode_calls_a_lines_end_is_escaped(end: str) -> None:
    stream = streamed(STARTED, TextDelta(f"a{end}b"))
    assert end.encode() not in stream
    assert deltas(stream)[1] == {"content": f"a{end}b"}


def test_the_usage_of_a_stream_is_its_last_chunk() -> None:
    stream = streamed(STARTED, FINISHED, include_usage=True)
    assert chunks(stream)[-1] == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [],
        "usage": TOLD_USAGE,
    }


# The document.

TOLD_USAGE = {
    "prompt_tokens": 16,
    "completion_tokens": 20,
    "total_tokens": 36,
    "prompt_tokens_details": {
        "cached_tokens": 3,
        "cache_write_tokens": 4,
        "audio_tokens": 0,
    },
    "completion_tokens_details": {
        "reasoning_tokens": 5,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def test_a_document() -> None:
    assert document(STARTED, TextDelta("one"), TextDelta(" two"), FINISHED) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "one two",
                    "refusal": None,
                },
                "finish_reason": "stop",
                "logprobs": None,
                "native_finish_reason": "end_turn",
            }
        ],
        "usage": TOLD_USAGE,
    }


def test_the_providers_own_words_for_the_end() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    refused = Finished("refusal", USAGE, stop_details=Raw(json.dumps(details).encode()))
    [choice] = document(STARTED, TextDelta("so"), refused)["choices"]
    assert choice["message"]["refusal"] == "Not this."
    told = {"native_finish_reason": "refusal", "stop_details": details}
    assert choice.items() >= {"finish_reason": "content_filter", **told}.items()
    *_, frame, _ = sse(streamed(STARTED, TextDelta("so"), refused))
    [last] = json.loads(frame)["choices"]
    assert chunk_errors(json.loads(frame)) == []
    assert last["delta"] == {"refusal": "Not this."}
    assert last.items() >= {"finish_reason": "content_filter", **told}.items()
    stopped = Finished("stop_sequence", USAGE, stop_sequence="END")
    [choice] = document(STARTED, stopped)["choices"]
    assert choice.items() >= {"finish_reason": "stop", "stop_sequence": "END"}.items()


def test_a_document_has_the_second_answer_only() -> None:
    decoded = document(
        STARTED, TextDelta("one"), Restarted(), STARTED, TextDelta("two"), FINISHED
    )
    assert decoded["choices"][0]["message"]["content"] == "two"


def test_a_document_has_every_message_of_a_turn() -> None:
    decoded = document(
        *(STARTED, TextDelta("look: ")),
        *(STARTED, TextDelta("fou"), Restarted()),
        *(STARTED, TextDelta("found"), FINISHED),
    )
    assert decoded["choices"][0]["message"]["content"] == "look: found"


def test_thinking_is_no_part_of_the_text() -> None:
    decoded = document(STARTED, ThinkingDelta("hm"), TextDelta("yes"), FINISHED)
    assert decoded["choices"][0]["message"]["content"] == "yes"


def test_a_document_is_over_when_every_choice_is() -> None:
    collected = ChatDocument(HEADING, 2)
    collected.receivers[1]([STARTED, FINISHED])
    assert not collected.is_over
    collected.receivers[0]([MessageStart("another"), FINISHED])
    assert collected.is_over


def test_a_document_sums_the_usage_of_its_choices() -> None:
    collected = ChatDocument(HEADING, 2)
    collected.receivers[0]([STARTED, FINISHED])
    collected.receivers[1](
        [*in_blocks([STARTED, Finished("max_tokens", evolve(USAGE))])]
    )
    assert collected.usage == USAGE + USAGE


def test_a_document_is_over_with_the_first_error() -> None:
    collected = ChatDocument(HEADING, 2)
    error = Overloaded("busy")
    collected.receivers[1]([*in_blocks([Failed(error)])])
    assert collected.is_over
    assert collected.error is error
    assert collected.usage == Usage()


# Blocks.


@pytest.mark.parametrize("reason", ["tool_use", "end_turn", "stop_sequence"])
def test_an_answer_with_a_call_ends_with_it(reason: str) -> None:
    """Whatever the provider says of the end: a client would not run it otherwise."""
    events: list[Event] = [
        *(STARTED, call_start("t", "look"), InputJSONDelta('{"a": 1}')),
        *(ContentBlockStop(0), Finished(reason, USAGE)),
    ]
    [choice] = document(*events)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"a": 1}'}
    ends = [chunk["choices"][0] for chunk in chunks(streamed(*events))]
    assert ends[-1]["finish_reason"] == "tool_calls"


def test_an_empty_piece_of_arguments_is_no_chunk() -> None:
    stream = streamed(STARTED, call_start("t", "look"), InputJSONDelta(""))
    assert len(deltas(stream)) == 2


def test_input_of_the_providers_own_tool_is_not_the_calls() -> None:
    search = Block.make("server_tool_use", id="s", name="web_search", input={})
    events: list[Event] = [
        *(STARTED, call_start("t", "look"), InputJSONDelta("{}"), ContentBlockStop()),
        *(ContentBlockStart(search, 1), InputJSONDelta('{"query": "x"}', 1)),
        *(ContentBlockStop(1), Finished("tool_use", USAGE)),
    ]
    [choice] = document(*events)["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert b"query" not in streamed(*events)


def test_blocks_of_other_types_are_not_told() -> None:
    search = Block.make("server_tool_use", id="s", name="web_search", input={})
    cited = OpaqueDelta(b'{"type": "citations_delta"}', 1)
    events: list[Event] = [
        *(STARTED, ContentBlockStart(search), InputJSONDelta('{"query": "x"}')),
        *(ContentBlockStop(0), TextDelta("found", 1), cited, FINISHED),
    ]
    [choice] = document(*events)["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "found",
        "refusal": None,
    }
    assert deltas(streamed(*events))[1:-1] == [{"content": "found"}]


# Error documents.


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("wait"),
        InternalError("b"),
        ClaudeFailed("é\u2028", param="messages[0]"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_document_has_all_four_keys(error: CCProxyError) -> None:
    decoded = json.loads(openai_error(error))
    assert error_errors(decoded) == []
    assert decoded == {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
