"""Answers of a native turn: whole, cut, begun again."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.records import (
    ControlRequest,
    ControlRequestBody,
    Result,
)
from ccproxy.claude.protocol.stream import (
    AssistantBody,
    AssistantLine,
    BlockDeltaEvent,
    BlockStartEvent,
    ExtendedMessageDeltaEvent,
    InputPiece,
    MessageDeltaEvent,
    MessageHead,
    MessageStartEvent,
    OpaqueDeltaEvent,
    StopPart,
    StreamLine,
    UserLine,
)
from ccproxy.core import errors
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStart,
    OpaqueDelta,
    Restarted,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
)
from tests.unit.claude.native.turn_records import (
    CLOSED,
    CUT,
    MODEL,
    NOW,
    NUDGE,
    OPENED,
    RECORDS,
    STATUSES,
    STOP,
    SUCCESS,
    answer,
    failure,
    finish,
    rate_limit,
    raw,
    receive,
    retry,
    start,
    stopped,
    text,
    thinking,
    told,
    whole,
)

STARTED = MessageStart(MODEL)


def arguments(json: str) -> Record:
    return StreamLine(BlockDeltaEvent(InputPiece(json)))


def test_a_streamed_answer() -> None:
    assert told(
        start(),
        OPENED,
        text("one"),
        text(" two"),
        CLOSED,
        whole("one two", identifier="msg_1"),
        stopped("end_turn"),
        STOP,
        SUCCESS,
    ) == [
        STARTED,
        TextDelta("one"),
        TextDelta(" two"),
        Finished("end_turn"),
    ]


def test_all_fields_at_the_end_of_a_message_are_passed_on() -> None:
    details = {"category": "cyber", "explanation": "no"}
    delta = {"stop_reason": "refusal", "stop_details": details, "container": {"id": 1}}
    ended = StreamLine(ExtendedMessageDeltaEvent(raw(delta), others={"newer": raw(2)}))
    end = finish(told(start(), text("on"), ended))
    assert end.stop_details == raw(details)
    assert (end.delta_fields, end.event_fields) == (
        {"container": raw({"id": 1})},
        {"newer": raw(2)},
    )
    assert end.refusal == "no"


def test_deltas_of_other_types_are_passed_on_within_their_block() -> None:
    citation = StreamLine(OpaqueDeltaEvent(raw({"type": "citations_delta"})))
    called = StreamLine(
        BlockStartEvent(raw({"type": "tool_use", "id": "t", "name": "Read"}))
    )
    turn = NativeTurnDecoder(NOW)
    assert receive(turn, start(), citation, OPENED, text("on"), citation) == [
        STARTED,
        TextDelta("on"),
        OpaqueDelta(b'{"type":"citations_delta"}'),
    ]
    # The client does not get the call.
    assert receive(turn, called, citation) == []
    held = NativeTurnDecoder(NOW, has_schema=True)
    assert receive(held, start(), thinking("hm"), text("on"), citation)[2:] == []


def test_text_is_told_as_it_comes() -> None:
    turn = NativeTurnDecoder(NOW)
    assert receive(turn, start()) == [STARTED]
    assert receive(turn, text("one")) == [TextDelta("one")]
    assert receive(turn, text("two")) == [TextDelta("two")]


def test_thinking_is_told_apart() -> None:
    assert told(start(), thinking("hm"), text("yes")) == [
        STARTED,
        ThinkingDelta("hm"),
        TextDelta("yes", 1),
    ]


@pytest.mark.parametrize(
    "record",
    [
        text(""),
        thinking(""),
        arguments('{"a"'),
        StreamLine(OpaqueDeltaEvent(raw({"type": "a delta of a later API"}))),
        ControlRequest("r", ControlRequestBody("can_use_tool")),
        UserLine(),
        rate_limit("allowed", NOW + 60),
    ],
)
def test_what_says_nothing_is_not_told(record: Record) -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start())
    assert receive(turn, record) == []
    assert receive(turn, text("on"), stopped("end_turn"), SUCCESS) == [
        TextDelta("on"),
        Finished("end_turn"),
    ]


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.REFUSAL),
        ("a reason of a later API", FinishReason.STOP),
    ],
)
def test_the_stop_reason_is_the_finish_reason(
    stop_reason: str, reason: FinishReason
) -> None:
    result = Result(subtype="success", stop_reason=stop_reason)
    events = told(start(), text("a"), stopped(stop_reason), STOP, result)
    assert finish(events).reason is reason


def test_the_messages_reason_counts_where_the_result_has_none() -> None:
    events = told(start(), stopped("stop_sequence"), Result(subtype="success"))
    assert finish(events).reason is FinishReason.STOP


def test_only_the_result_ends_a_normal_answer() -> None:
    turn = NativeTurnDecoder(NOW)
    assert receive(turn, start(), text("a"), stopped("end_turn"), STOP)[2:] == []
    assert not turn.is_over
    assert [type(event) for event in receive(turn, SUCCESS)] == [Finished]
    assert turn.is_over
    assert not turn.will_send_own_request


def test_nothing_is_told_after_the_end() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start(), text("a"), stopped("end_turn"), SUCCESS)
    after = (start("msg_2"), text("b"), whole("c"), retry(), SUCCESS, NUDGE)
    assert receive(turn, *after) == []


def test_message_stop_alone_ends_nothing() -> None:
    turn = NativeTurnDecoder(NOW)
    assert receive(turn, start(), text("half"), *CUT)[2:] == []
    assert not turn.is_over


def test_a_message_delta_without_reason_ends_nothing() -> None:
    turn = NativeTurnDecoder(NOW)
    assert receive(turn, start(), text("half"), stopped(None), STOP)[2:] == []
    assert not turn.is_over


def test_an_answer_that_is_begun_again_voids_the_first() -> None:
    assert told(
        start("msg_1"),
        text("one tw"),
        *CUT,
        retry(error="unknown", status=None),
        start("msg_2"),
        text("one two"),
        stopped("end_turn"),
        STOP,
        SUCCESS,
    ) == [
        STARTED,
        TextDelta("one tw"),
        UpstreamRetry("unknown", 1, 1.5),
        Restarted(),
        STARTED,
        TextDelta("one two"),
        Finished("end_turn"),
    ]


def test_a_message_delta_without_reason_leaves_the_answer_cut() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start("msg_1"), text("half"), stopped(None), STOP)
    assert receive(turn, start("msg_2")) == [Restarted(), STARTED]


def test_a_whole_message_after_a_cut_is_the_answer() -> None:
    assert told(
        start("msg_1"),
        text("one tw"),
        *CUT,
        retry(),
        whole("one two", identifier="msg_2", stop_reason="end_turn"),
        SUCCESS,
    ) == [
        STARTED,
        TextDelta("one tw"),
        UpstreamRetry("overloaded", 1, 1.5),
        Restarted(),
        STARTED,
        TextDelta("one two"),
        Finished("end_turn"),
    ]


def test_a_whole_message_comes_block_by_block() -> None:
    thought = raw({"type": "thinking", "thinking": "hm", "signature": ""})
    assert told(
        AssistantLine(AssistantBody("msg_2", MODEL, [thought])),
        whole("one", identifier="msg_2"),
        whole("two", identifier="msg_2"),
        SUCCESS,
    ) == [
        STARTED,
        ThinkingDelta("hm"),
        TextDelta("one", 1),
        TextDelta("two", 1),
        Finished("end_turn"),
    ]


def test_the_finished_blocks_of_a_streamed_message_are_not_told_again() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start("msg_1"), text("half"))
    assert receive(turn, whole("half", identifier="msg_1"), *CUT) == []


def test_a_whole_message_that_was_cut_short_ends_the_turn() -> None:
    turn = NativeTurnDecoder(NOW)
    events = receive(turn, whole("one", stop_reason="max_tokens"))
    assert finish(events).reason is FinishReason.LENGTH
    assert turn.will_send_own_request


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.REFUSAL),
    ],
)
def test_an_answer_cut_short_ends_before_the_cli_asks_again(
    stop_reason: str, reason: FinishReason
) -> None:
    turn = NativeTurnDecoder(NOW)
    events = receive(turn, start(), text("one"), stopped(stop_reason))
    assert finish(events).reason is reason
    assert turn.is_over
    assert turn.will_send_own_request
    assert receive(turn, STOP, NUDGE, start("msg_2"), text("more")) == []


def test_a_nudge_to_go_on_after_a_cut_is_a_failure() -> None:
    error = failure(told(start(), text("half"), *CUT, NUDGE))
    assert type(error) is errors.ClaudeFailed


def test_what_the_cli_says_between_messages_is_no_failure() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start(), stopped("tool_use"), STOP)
    assert receive(turn, NUDGE) == []


def test_a_nudge_to_a_sub_agent_is_no_failure() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start(), text("a"))
    nudge = UserLine(is_synthetic=True, parent_tool_use_id="toolu_1")
    assert receive(turn, nudge) == []


def test_a_result_in_mid_answer_is_a_failure() -> None:
    error = failure(told(start(), text("half"), *CUT, SUCCESS))
    assert type(error) is errors.ClaudeFailed


@given(
    st.lists(st.lists(st.text(min_size=1, max_size=3))),
    st.lists(st.text(min_size=1, max_size=3)),
    st.booleans(),
    st.booleans(),
)
def test_whatever_was_cut_the_last_answer_counts(
    cut: list[list[str]], last: list[str], streamed: bool, told_why: bool
) -> None:
    records: list[Record] = []
    for number, pieces in enumerate(cut):
        records += [start(f"cut_{number}"), *map(text, pieces), *CUT]
        records += [retry(attempt=number + 1)] if told_why else []
    if streamed:
        records += [start("last"), *map(text, last), stopped("end_turn"), STOP]
    else:
        records += [whole(*last, identifier="last")]
    events = told(*records, SUCCESS)
    assert answer(events) == "".join(last)
    assert finish(events).reason is FinishReason.STOP
    assert events.count(Restarted()) == len(cut)


def test_a_tool_call_does_not_end_the_turn() -> None:
    turn = NativeTurnDecoder(NOW)
    called = receive(turn, start("msg_1"), text("look:"), stopped("tool_use"), STOP)
    assert called == [STARTED, TextDelta("look:")]
    assert receive(
        turn,
        UserLine(),
        start("msg_2"),
        text("found"),
        stopped("end_turn"),
        STOP,
        SUCCESS,
    ) == [STARTED, TextDelta("found"), Finished("end_turn")]


@pytest.mark.parametrize(
    "record",
    [
        text("aside", parent="toolu_1"),
        whole("aside", parent="toolu_1", stop_reason="max_tokens"),
        StreamLine(MessageStartEvent(raw(MessageHead("s", MODEL))), "toolu_1"),
        StreamLine(MessageDeltaEvent(raw(StopPart("max_tokens"))), "toolu_1"),
    ],
)
def test_what_a_sub_agent_says_is_not_the_answer(record: Record) -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start(), text("main"))
    assert receive(turn, record) == []
    assert not turn.is_over


@st.composite
def protocol(draw: st.DrawFn) -> list[Record]:
    """Records in an order that a CLI writes: messages, cut or not, and an end."""
    records: list[Record] = []
    for number in range(draw(st.integers(0, 4))):
        records += draw(st.lists(st.builds(retry, st.integers(1, 10), STATUSES)))
        if draw(st.booleans()):
            records.append(start(f"msg_{number}"))
            records += draw(st.lists(st.builds(text, st.text(max_size=3))))
            records += draw(st.sampled_from([[*CUT], [stopped("tool_use"), STOP]]))
        else:
            records.append(whole("whole", identifier=f"msg_{number}"))
    return [*records, draw(st.sampled_from([SUCCESS, stopped("max_tokens"), NUDGE]))]


def check_order(events: Sequence[Event]) -> None:
    """The rules of `ccproxy.core.stream`, whatever the records were."""
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    assert ends == [event for event in events[-1:] if event in ends]
    for event, following in pairwise(events):
        if isinstance(event, Restarted):
            assert isinstance(following, MessageStart)
    assert not events or not isinstance(events[-1], Restarted)
    assert all(event.text for event in events if isinstance(event, TextDelta))


@given(st.lists(RECORDS))
def test_any_records_give_events_in_order(records: list[Record]) -> None:
    turn = NativeTurnDecoder(NOW)
    events = receive(turn, *records)
    check_order(events)
    assert turn.is_over is bool(events and isinstance(events[-1], Finished | Failed))
    assert turn.is_over or not turn.will_send_own_request


@given(protocol())
def test_records_in_order_give_no_delta_before_a_message(
    records: list[Record],
) -> None:
    events = told(*records)
    check_order(events)
    deltas = [n for n, e in enumerate(events) if isinstance(e, TextDelta)]
    started = [n for n, e in enumerate(events) if isinstance(e, MessageStart)]
    assert not deltas or started[0] < deltas[0]


@given(protocol())
def test_a_restart_voids_a_message_that_was_begun(records: list[Record]) -> None:
    open_messages = 0
    for event in told(*records):
        match event:
            case MessageStart():
                open_messages = 1
            case Restarted():
                assert open_messages == 1
                open_messages = 0


@pytest.mark.parametrize(
    ("said", "told_as"),
    [
        ("max_tokens", "max_tokens"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("pause_turn", "pause_turn"),
        ("of_tomorrow", "of_tomorrow"),
        ("tool_use", "end_turn"),
    ],
)
def test_which_stop_reasons_are_passed_on(said: str, told_as: str) -> None:
    result = Result(subtype="success", stop_reason=said)
    *_, end = told(start(), text("a"), stopped(said), STOP, result)
    assert end == Finished(told_as)
