"""The end of an answer, and no event comes twice."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.claude.protocol.codec import WireError, decode
from ccproxy.claude.worker.turn_decoder import TurnDecoder
from ccproxy.core import errors
from ccproxy.core.blocks import text_block
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    FinishReason,
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
from tests.support.cli_lines import (
    BLOCKED,
    MESSAGE_STOP,
    NO_SUCH_TOOL,
    NO_TURNS_LEFT,
    NUDGE,
    Line,
    api_retry,
    assistant,
    block_start,
    block_stop,
    delta,
    encoded,
    message_delta,
    message_start,
    rate_limit,
    result,
    stream,
    synthetic,
    text,
)

NOW = 1_700_000_000.0
STARTED = MessageStart("claude-test")
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
ANSWER = (message_start(), block_start(), text("one"), text(" two"), block_stop())


def receive(turn: TurnDecoder, *lines: Line) -> list[Event]:
    events: list[Event] = []
    for line in lines:
        record = decode(encoded(line))
        if record is not None:
            assert not turn.is_unexpected(record)
            events += turn.receive(record)
    return events


def told(*lines: Line) -> list[Event]:
    return receive(TurnDecoder(NOW), *lines)


def finish(events: Sequence[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def failure(events: Sequence[Event]) -> errors.CCProxyError:
    assert isinstance(events[-1], Failed)
    return events[-1].error


def is_expected(turn: TurnDecoder, line: Line) -> bool:
    record = decode(encoded(line))
    assert record is not None
    return not turn.is_unexpected(record)


# A normal answer.


def test_a_streamed_answer() -> None:
    assert told(
        *ANSWER, assistant({"type": "text", "text": "one two"}),
        message_delta("end_turn"), MESSAGE_STOP, result(),
    ) == [
        STARTED,
        ContentBlockStart(text_block("")),
        TextDelta("one"),
        TextDelta(" two"),
        ContentBlockStop(),
        Finished("end_turn", cost_usd=0.25),
    ]  # fmt: skip


def test_it_is_over_when_the_cli_says_so_and_what_it_cost() -> None:
    turn = TurnDecoder(NOW, spent_usd=0.1)
    events = receive(turn, *ANSWER, message_delta("end_turn"), MESSAGE_STOP)
    assert not turn.is_over
    events += receive(turn, result())
    assert turn.is_over
    assert turn.is_settled
    assert not turn.will_send_own_request
    assert finish(events).cost_usd == pytest.approx(0.15)


def test_every_kind_of_piece_has_its_index() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    events = told(
        message_start(),
        block_start(thinking, 0),
        delta("thinking_delta", 0, thinking="hm"),
        delta("signature_delta", 0, signature="c2ln"),
        block_stop(0),
        block_start(None, 1),
        text("yes", 1),
        block_stop(1),
        block_start(CALL, 2),
        delta("input_json_delta", 2, partial_json='{"a"'),
        delta("input_json_delta", 2, partial_json=":1}"),
        block_stop(2),
        message_delta("tool_use"),
        MESSAGE_STOP,
        NO_SUCH_TOOL,
        NO_TURNS_LEFT,
    )
    starts = [e for e in events if isinstance(e, ContentBlockStart)]
    assert [(e.block.type, e.index) for e in starts] == [
        ("thinking", 0),
        ("text", 1),
        ("tool_use", 2),
    ]
    pieces = ThinkingDelta | SignatureDelta | TextDelta | InputJSONDelta
    assert [e for e in events if isinstance(e, pieces)] == [
        ThinkingDelta("hm", 0),
        SignatureDelta("c2ln", 0),
        TextDelta("yes", 1),
        InputJSONDelta('{"a"', 2),
        InputJSONDelta(":1}", 2),
    ]
    assert finish(events).reason is FinishReason.TOOL_USE


def test_what_we_do_not_know_goes_through_as_it_came() -> None:
    block = {"type": "hologram", "text": {"of": 1}, "n": 12345678901234567890}
    piece = {"type": "glow_delta", "text": 3, "exact": 1.50}
    odd = stream("content_block_delta", index=4, delta=piece)
    events = told(message_start(), block_start(block, 4), odd)
    start, opaque = events[1:]
    assert isinstance(start, ContentBlockStart)
    assert (start.block.type, start.index) == ("hologram", 4)
    assert start.block.raw == encoded(block)
    assert opaque == OpaqueDelta(encoded(piece), 4)


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        (("a\ud83d", "\ude00b"), ["a", "😀b"]),
        (("a\ud83d", "b"), ["a", "\ufffdb"]),
        (("\ude00", "\ud83d"), ["\ufffd", "\ufffd"]),
        (("\ud83d", "\ud83d\ude00"), ["\ufffd😀"]),
    ],
)
def test_halves_of_a_surrogate_pair(pieces: Sequence[str], joined: list[str]) -> None:
    lines = [message_start(), block_start(), *map(text, pieces), block_stop()]
    events = told(*lines)
    assert [e.text for e in events if isinstance(e, TextDelta)] == joined


def test_half_a_pair_at_the_end_of_thinking_stays_there() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    events = told(
        *(message_start(), block_start(thinking)),
        delta("thinking_delta", thinking="hm \ud83d"),
        delta("signature_delta", signature="s"),
    )
    assert events[2:] == [
        *(ThinkingDelta("hm "), ThinkingDelta("\ufffd"), SignatureDelta("s")),
    ]


def test_events_of_a_new_type_are_none() -> None:
    assert told(message_start(), stream("new_event", delta=7)) == [STARTED]


def test_agents_of_the_cli_are_not_heard() -> None:
    inner = {**text("inner"), "parent_tool_use_id": "toolu_9"}
    assert told(message_start(), inner) == [STARTED]


# Why it ends.


@pytest.mark.parametrize(
    "reason", ["end_turn", "stop_sequence", "pause_turn", "refusal", "of_tomorrow"]
)
def test_a_reason_after_which_the_cli_ends_its_turn(reason: str) -> None:
    turn = TurnDecoder(NOW)
    events = receive(turn, *ANSWER, message_delta(reason, stop_sequence="X"))
    assert not turn.is_over
    assert not turn.will_send_own_request
    end = finish(receive(turn, MESSAGE_STOP, result(is_error=True)))
    assert (end.stop_reason, end.stop_sequence) == (reason, "X")
    assert events


@pytest.mark.parametrize(
    "reason", ["max_tokens", "model_context_window_exceeded", "tool_use"]
)
def test_a_reason_after_which_the_cli_asks_again_ends_it_at_once(reason: str) -> None:
    turn = TurnDecoder(NOW)
    usage = {"output_tokens": 7}
    end = finish(receive(turn, *ANSWER, message_delta(reason, usage=usage)))
    assert (end.stop_reason, end.usage.output_tokens) == (reason, 7)
    assert end.cost_usd is None
    assert turn.will_send_own_request
    assert receive(turn, MESSAGE_STOP, NUDGE) == []
    assert turn.will_send_own_request
    assert not is_expected(turn, message_start("msg_2"))
    assert receive(turn, synthetic("Prompt is too long", "invalid"), BLOCKED) == []
    assert not turn.will_send_own_request
    assert turn.is_settled


@pytest.mark.parametrize(
    "blocks",
    [
        (),
        (block_start(), block_stop()),
        (block_start(), text(" \n"), text("\ufeff"), block_stop()),
        (
            block_start({"type": "thinking", "thinking": "", "signature": ""}),
            delta("thinking_delta", thinking="hm"),
            block_stop(),
        ),
        (block_start({"type": "redacted_thinking", "data": "x"}), block_stop()),
    ],
)
@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence", "of_tomorrow"])
def test_an_answer_that_says_nothing_is_asked_again(
    blocks: Sequence[Line], reason: str
) -> None:
    turn = TurnDecoder(NOW)
    events = receive(turn, message_start(), *blocks, message_delta(reason))
    assert finish(events).stop_reason == reason
    assert turn.will_send_own_request


@pytest.mark.parametrize("reason", ["pause_turn", "refusal"])
def test_an_empty_refusal_is_not(reason: str) -> None:
    turn = TurnDecoder(NOW)
    assert receive(turn, message_start(), message_delta(reason)) == [STARTED]
    assert not turn.will_send_own_request


@pytest.mark.parametrize("reason", ["tool_use", "end_turn", "max_tokens", "refusal"])
def test_a_call_is_the_clients_whatever_ends_the_answer(reason: str) -> None:
    turn = TurnDecoder(NOW)
    call = (block_start(CALL), delta("input_json_delta", partial_json="{}"))
    events = receive(turn, message_start(), *call, block_stop(), message_delta(reason))
    assert not turn.will_send_own_request
    events += receive(turn, MESSAGE_STOP, NO_SUCH_TOOL, NO_TURNS_LEFT)
    assert [e.block.type for e in events if isinstance(e, ContentBlockStart)] == [
        "tool_use"
    ]
    assert finish(events).stop_reason == reason


def test_what_stands_beside_the_reason() -> None:
    details = {"type": "refusal", "category": "cyber"}
    line = message_delta("refusal", stop_details=details)
    raw = finish(told(*ANSWER, line, MESSAGE_STOP, result())).stop_details
    assert raw is not None
    assert json.loads(bytes(raw)) == details


def test_what_stands_beside_what_is_known() -> None:
    begun = message_start(fields={"container": {"id": "a"}, "diagnostics": None})
    fields: Mapping[str, Any] = {"context_management": {"applied_edits": []}}
    line = message_delta("end_turn", fields=fields, container={"id": "b"})
    events = told(begun, block_start(), text("one"), line, MESSAGE_STOP, result())
    assert isinstance(events[0], MessageStart)
    assert read(events[0].fields) == {"container": {"id": "a"}}
    assert read(finish(events).delta_fields) == {"container": {"id": "b"}}
    assert read(finish(events).event_fields) == fields


def read(fields: Mapping[str, Raw]) -> dict[str, Any]:
    return {name: json.loads(bytes(value)) for name, value in fields.items()}


def test_other_fields_of_a_delta_are_a_delta_of_their_own() -> None:
    line = delta("thinking_delta", thinking="hm", estimated_tokens=50)
    signed = delta("signature_delta", signature="c2ln", of_tomorrow=1)
    plain = delta("thinking_delta", thinking="hm", estimated_tokens=None)
    *_, rest, thought, more, sign, again = told(*BEGUN_THINKING, line, signed, plain)
    assert thought == again == ThinkingDelta("hm")
    # In front of the signature, which its empty one would replace.
    assert isinstance(rest, OpaqueDelta)
    assert isinstance(more, OpaqueDelta)
    about = {"type": "thinking_delta", "thinking": "", "estimated_tokens": 50}
    assert json.loads(rest.raw) == about
    about = {"type": "signature_delta", "signature": "", "of_tomorrow": 1}
    assert json.loads(more.raw) == about
    assert sign == SignatureDelta("c2ln")


BEGUN_THINKING = (
    message_start(),
    block_start({"type": "thinking", "thinking": "", "signature": ""}),
)


def test_a_block_that_begins_with_its_content() -> None:
    call = {"type": "tool_use", "id": "a", "name": "look", "input": {"x": 1}}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    events = told(
        message_start(),
        block_start(thinking),
        block_stop(),
        block_start({"type": "text", "text": "one "}, 1),
        text("two", 1),
        block_stop(1),
        block_start(call, 2),
        block_stop(2),
        block_start(call, 3),
        delta("input_json_delta", 3, partial_json="{}"),
        block_stop(3),
        message_delta("tool_use"),
        MESSAGE_STOP,
        result(),
    )
    deltas = [e for e in events if not isinstance(e, ContentBlockStart)][1:-1]
    assert [e for e in deltas if not isinstance(e, ContentBlockStop)] == [
        ThinkingDelta("hm"),
        SignatureDelta("s"),
        TextDelta("one ", 1),
        TextDelta("two", 1),
        InputJSONDelta('{"x":1}', 2),
        InputJSONDelta("{}", 3),
    ]
    message = MessageBuilder()
    message.receive(events)
    assert json.loads(message.blocks[0].raw) == thinking
    assert json.loads(message.blocks[2].raw) == call


# Usage.


def test_usage_is_the_messages_own_with_all_its_details() -> None:
    events = told(
        message_start(
            input_tokens=11,
            cache_read_input_tokens=3,
            cache_creation_input_tokens=2,
            output_tokens=1,
            service_tier="standard",
            cache_creation={"ephemeral_5m_input_tokens": 2},
        ),
        block_start(),
        text("hi"),
        block_stop(),
        message_delta(
            "end_turn",
            usage={
                "input_tokens": None,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 1},
                "iterations": None,
            },
        ),
        MESSAGE_STOP,
        result(usage={"input_tokens": 99, "output_tokens": 99}),
    )
    begun = events[0]
    assert isinstance(begun, MessageStart)
    assert begun.usage == Usage(
        input_tokens=11, cache_read_tokens=3, cache_write_tokens=2, output_tokens=1
    )
    usage = finish(events).usage
    assert usage == Usage(
        input_tokens=11,
        cache_read_tokens=3,
        cache_write_tokens=2,
        output_tokens=9,
        thinking_tokens=4,
    )
    assert {k: json.loads(bytes(v)) for k, v in usage.details.items()} == {
        "input_tokens": 11,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
        "output_tokens": 9,
        "service_tier": "standard",
        "cache_creation": {"ephemeral_5m_input_tokens": 2},
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 1},
        "iterations": None,
    }


def test_usage_of_an_answer_that_was_cut_does_not_count() -> None:
    events = told(
        message_start(input_tokens=5, output_tokens=1), block_start(), text("on"),
        block_stop(), MESSAGE_STOP, api_retry(),
        message_start("msg_2", input_tokens=7), block_start(), text("one"),
        message_delta("end_turn", usage={"output_tokens": 2}), result(),
    )  # fmt: skip
    assert finish(events).usage == Usage(input_tokens=7, output_tokens=2)


# Cut, and asked for again.


def test_an_answer_that_is_cut_comes_again() -> None:
    turn = TurnDecoder(NOW)
    receive(turn, message_start(), block_start(), text("on"), block_stop())
    assert receive(turn, MESSAGE_STOP) == []
    assert receive(turn, api_retry(1, None, "unknown")) == [
        UpstreamRetry("unknown", 1, 1.5005)
    ]
    events = receive(turn, message_start("msg_2"), block_start(), text("one"))
    assert events[:2] == [Restarted(), STARTED]
    assert not is_expected(turn, message_start("msg_3"))


@pytest.mark.parametrize(
    "cut",
    [
        (message_start(),),
        # 2.1.251 to 2.1.268 repeat the request even after a complete block.
        (*ANSWER,),
        (*ANSWER, message_delta(None)),
    ],
)
def test_cut_it_comes_again_without_a_word(cut: Sequence[Line]) -> None:
    turn = TurnDecoder(NOW)
    receive(turn, *cut, MESSAGE_STOP)
    assert receive(turn, message_start("msg_2")) == [Restarted(), STARTED]
    assert not is_expected(turn, message_start("msg_3"))


def test_an_answer_that_the_cli_continues_has_no_second_message() -> None:
    turn = TurnDecoder(NOW)
    receive(turn, *ANSWER, MESSAGE_STOP, NUDGE)
    assert turn.is_over
    assert not is_expected(turn, message_start("msg_2"))


def test_a_message_that_nobody_asked_for() -> None:
    turn = TurnDecoder(NOW)
    assert is_expected(turn, message_start())
    receive(turn, *ANSWER)
    for line in (
        message_start(),
        message_start("msg_2"),
        assistant({"type": "text", "text": "x"}, identifier="msg_2"),
    ):
        assert not is_expected(turn, line)
    assert is_expected(turn, assistant({"type": "text", "text": "one two"}))
    assert is_expected(turn, synthetic("x", "unknown"))


def test_a_turn_that_may_not_begin() -> None:
    turn = TurnDecoder(NOW, may_begin=False)
    assert not is_expected(turn, message_start())
    receive(turn, BLOCKED)
    assert turn.is_over


def test_a_prompt_that_is_too_long_for_the_cli() -> None:
    error = failure(receive(TurnDecoder(NOW), BLOCKED))
    assert isinstance(error, errors.ContextLengthExceeded)


@pytest.mark.parametrize("cut", [(), (MESSAGE_STOP,), (message_delta(None),)])
@pytest.mark.parametrize("end", [NUDGE, BLOCKED])
def test_half_an_answer_of_which_the_cli_wants_the_rest(
    cut: Sequence[Line], end: Line
) -> None:
    turn = TurnDecoder(NOW)
    events = receive(turn, *ANSWER, *cut, end)
    assert "lost during the answer" in failure(events).message
    assert turn.will_send_own_request == (end is NUDGE)


def test_an_error_in_mid_answer() -> None:
    """The stream tells no reason; the result does."""
    events = told(
        *ANSWER[:-1],
        synthetic("API Error: Overloaded", "overloaded"),
        block_stop(),
        message_delta(None),
        MESSAGE_STOP,
        result(
            is_error=True,
            terminal_reason="api_error",
            api_error_status=529,
            result="API Error: Overloaded",
        ),
    )
    assert isinstance(failure(events), errors.Overloaded)


def test_an_answer_that_just_stops() -> None:
    assert "broke off" in failure(told(*ANSWER, result())).message


# A whole message, without a stream.


def test_a_whole_message() -> None:
    events = told(
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "yes", "citations": None},
            usage={"input_tokens": 3, "output_tokens": 4},
        ),
        assistant({**CALL, "input": {"a": 1}}),
        assistant({"type": "hologram", "n": 1}, reason="end_turn"),
        result(),
    )
    starts = [e for e in events if isinstance(e, ContentBlockStart)]
    assert [json.loads(e.block.raw) for e in starts] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": "", "citations": None},
        CALL,
        {"type": "hologram", "n": 1},
    ]
    assert [e.index for e in events if isinstance(e, ContentBlockStop)] == [0, 1, 2, 3]
    deltas = ThinkingDelta | SignatureDelta | TextDelta | InputJSONDelta
    assert [e for e in events if isinstance(e, deltas)] == [
        ThinkingDelta("hm", 0),
        SignatureDelta("c2ln", 0),
        TextDelta("yes", 1),
        InputJSONDelta('{"a":1}', 2),
    ]
    assert finish(events).usage == Usage(input_tokens=3, output_tokens=4)


def test_a_whole_message_instead_of_one_that_was_cut() -> None:
    whole = assistant({"type": "text", "text": "one"}, identifier="msg_2")
    events = told(*ANSWER, MESSAGE_STOP, api_retry(), whole, result())
    assert Restarted() in events
    assert finish(events).stop_reason == "end_turn"


# Refused.


@pytest.mark.parametrize(
    "said",
    [
        "API Error: 400 messages.3.content.1.text: not to my liking",
        'API Error: 400 {"type":"error","error":{"type":"invalid_request_error",'
        '"message":"messages.3.content.1.text: not to my liking"},"request_id":"r"}',
    ],
)
def test_a_400_has_the_providers_words_and_path(said: str) -> None:
    turn = TurnDecoder(NOW)
    bad = result(is_error=True, api_error_status=400, result=said)
    error = failure(receive(turn, synthetic(said, "invalid_request"), bad))
    assert isinstance(error, errors.InvalidRequest)
    assert error.message == "messages.3.content.1.text: not to my liking"
    assert error.param == "messages.3.content.1.text"
    assert turn.may_lose_features


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("tools.2.custom.input_schema: JSON schema is invalid", None),
        ("max_tokens: 9 > 8, which is the maximum", None),
        ("`temperature` may only be set to 1", ""),
        ("This model does not support assistant prefill: end with a user", ""),
    ],
)
def test_where_the_provider_names_a_path(message: str, param: str | None) -> None:
    said = f"API Error: 400 {message}"
    error = failure(told(result(is_error=True, api_error_status=400, result=said)))
    assert error.message == message
    assert (error.param or "") == (message.split(":")[0] if param is None else "")


def test_a_login_that_is_refused_twice_is_not_tried_on() -> None:
    turn = TurnDecoder(NOW)
    events = receive(turn, api_retry(1, 401, "authentication_failed"))
    assert isinstance(events[-1], UpstreamRetry)
    events = receive(turn, api_retry(2, 401, "authentication_failed"))
    assert isinstance(failure(events), errors.NotLoggedIn)
    assert not turn.is_settled


def test_a_limit_of_the_plan() -> None:
    error = failure(
        told(
            rate_limit("rejected", NOW + 60),
            result(is_error=True, api_error_status=429, result="Limit reached"),
        )
    )
    assert isinstance(error, errors.InsufficientQuota)
    assert error.retry_after_seconds == pytest.approx(60)


def test_why_nothing_came() -> None:
    turn, otherwise = TurnDecoder(NOW), errors.TimedOut("late")
    assert turn.timeout_error(otherwise) is otherwise
    receive(turn, api_retry())
    assert isinstance(turn.timeout_error(otherwise), errors.Overloaded)
    receive(turn, message_start())
    assert turn.timeout_error(otherwise) is otherwise


def test_nothing_was_asked() -> None:
    assert "without asking" in failure(told(result(num_turns=0))).message


@pytest.mark.parametrize("line", [text("early"), message_delta("end_turn")])
def test_a_piece_of_nothing(line: Line) -> None:
    assert isinstance(failure(told(line)), errors.ClaudeFailed)


def test_a_block_of_another_shape() -> None:
    with pytest.raises(WireError, match="an answer of an unknown shape"):
        told(message_start(), block_start({"type": "text", "text": 5}))


# Anything, in any order.

PIECES: list[Line] = [
    message_start(),
    message_start("msg_2", input_tokens=3),
    block_start(),
    block_start(CALL, 1),
    block_start({"type": "new", "x": 1}, 2),
    text("a "),
    text(""),
    delta("thinking_delta", thinking="hm"),
    delta("input_json_delta", 1, partial_json="{}"),
    delta("new_delta", 2, x=1),
    block_stop(),
    *(message_delta(r) for r in ("end_turn", "max_tokens", "tool_use", None)),
    MESSAGE_STOP,
    NUDGE,
    NO_SUCH_TOOL,
    assistant({"type": "text", "text": "a "}),
    assistant(
        {"type": "text", "text": "whole "}, identifier="msg_2", reason="end_turn"
    ),
    synthetic("API Error: no", "unknown"),
    api_retry(),
    api_retry(2, 401, "authentication_failed"),
    rate_limit("rejected", None),
    result(),
    BLOCKED,
    NO_TURNS_LEFT,
]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_order_has_one_end_and_sound_events(lines: list[Line]) -> None:
    turn, events = TurnDecoder(NOW), []
    for line in lines:
        record = decode(encoded(line))
        assert record is not None
        if turn.is_unexpected(record):
            break  # the worker kills the process
        was_over = turn.is_over
        events += (new := turn.receive(record))
        assert not (was_over and new)
        assert turn.is_over == any(isinstance(e, Finished | Failed) for e in events)
    ends = [e for e in events if isinstance(e, Finished | Failed)]
    assert len(ends) <= 1
    assert not ends or events[-1] is ends[0]
    begun = 0
    for number, event in enumerate(events):
        match event:
            case MessageStart():
                begun += 1
                assert begun == 1 or events[number - 1] == Restarted()
            case Restarted():
                assert isinstance(events[number + 1], MessageStart)
            case UpstreamRetry() | Failed():
                pass
            case _:
                assert begun


WORDS = [f"w{number} " for number in range(8)]


@st.composite
def attempts(draw: st.DrawFn) -> list[Line]:
    """An answer that is cut now and then, at any place, and comes again."""
    lines: list[Line] = []
    for number in range(draw(st.integers(0, 3))):
        kept = draw(st.integers(0, len(WORDS)))
        lines += [message_start(f"msg_{number}"), block_start()]
        lines += [text(word) for word in WORDS[:kept]]
        lines += draw(
            st.sampled_from([[], [MESSAGE_STOP], [block_stop(), MESSAGE_STOP]])
        )
        lines.append(api_retry(number + 1))
    lines += [message_start("msg_9"), block_start(), *map(text, WORDS), block_stop()]
    lines.append(
        assistant({"type": "text", "text": "".join(WORDS)}, identifier="msg_9")
    )
    return [*lines, message_delta("end_turn"), MESSAGE_STOP, result()]


@given(attempts(), st.data())
def test_no_word_is_told_twice_however_often_it_is_cut(
    lines: list[Line], data: Any
) -> None:
    until = data.draw(st.integers(0, len(lines)))
    events = told(*lines[:until])
    said = ""
    for event in events:
        if isinstance(event, Restarted):
            said = ""
        if isinstance(event, TextDelta):
            said += event.text
    assert "".join(WORDS).startswith(said)
    if until == len(lines):
        assert said == "".join(WORDS)
        assert finish(events)
    else:
        assert not any(isinstance(e, Finished | Failed) for e in events)


def test_a_delta_is_read_once() -> None:
    """The whole line is one struct, with nothing of it read before or again."""
    line = encoded(text("x" * 100))
    record = decode(line)
    assert msgspec.to_builtins(record) == {
        "event": {
            "type": "content_block_delta",
            "delta": {"type": "text_delta", "text": "x" * 100},
            "index": 0,
        },
        "parent_tool_use_id": None,
    }
