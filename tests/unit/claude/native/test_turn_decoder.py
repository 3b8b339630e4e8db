"""One turn of the model: what ends an answer, and what does not."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.protocol.codec import Record, WireError
from ccproxy.claude.protocol.records import (
    ApiRetry,
    ControlAsk,
    ControlRequest,
    OutputDetails,
    RateLimitEvent,
    RateLimitInfo,
    Result,
    WireUsage,
)
from ccproxy.claude.protocol.stream import (
    AssistantBody,
    AssistantLine,
    BlockDeltaEvent,
    BlockStartEvent,
    BlockStopEvent,
    InputPiece,
    MessageDeltaEvent,
    MessageHead,
    MessageStartEvent,
    MessageStopEvent,
    OpaqueDeltaEvent,
    StopPart,
    StreamLine,
    TextPiece,
    ThinkingPiece,
    UserLine,
)
from ccproxy.core import errors
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStart,
    Restarted,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    Usage,
)

NOW = 1_700_000_000.0
MODEL = "claude-sonnet-4-5"
STARTED = MessageStart(MODEL)


# What the CLI writes.


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def start(identifier: str = "msg_1", usage: WireUsage | None = None) -> Record:
    head = MessageHead(id=identifier, model=MODEL, usage=raw(usage))
    return StreamLine(MessageStartEvent(head))


def text(text: str, parent: str | None = None) -> Record:
    return StreamLine(BlockDeltaEvent(TextPiece(text)), parent)


def thinking(text: str) -> Record:
    return StreamLine(BlockDeltaEvent(ThinkingPiece(text)))


def arguments(json: str) -> Record:
    return StreamLine(BlockDeltaEvent(InputPiece(json)))


def stopped(reason: str | None, usage: WireUsage | None = None) -> Record:
    return StreamLine(MessageDeltaEvent(StopPart(reason), raw(usage)))


OPENED = StreamLine(BlockStartEvent(raw({"type": "text", "text": ""})))
CLOSED = StreamLine(BlockStopEvent())
STOP = StreamLine(MessageStopEvent())
# So the CLI closes an answer whose upstream is gone.
CUT = (CLOSED, STOP)
# Written by the CLI itself when it does not ask for the whole answer again.
NUDGE = UserLine(is_synthetic=True)


def whole(
    *texts: str,
    identifier: str = "msg_9",
    stop_reason: str | None = None,
    usage: WireUsage | None = None,
    parent: str | None = None,
) -> Record:
    blocks = [raw({"type": "text", "text": text}) for text in texts]
    body = AssistantBody(identifier, MODEL, blocks, stop_reason, usage=raw(usage))
    return AssistantLine(body, parent)


def synthetic(said: str, error: str) -> Record:
    blocks = [raw({"type": "text", "text": said})]
    return AssistantLine(AssistantBody("x", "<synthetic>", blocks), error=error)


def retry(
    attempt: int = 1, status: int | None = 529, error: str = "overloaded"
) -> Record:
    return ApiRetry(
        attempt=attempt, retry_delay_ms=1500.0, error_status=status, error=error
    )


def rate_limit(status: str, resets_at: float | None) -> Record:
    return RateLimitEvent(RateLimitInfo(status=status, resets_at=resets_at))


def tokens(
    read: int, written: int, *, cached: int | None = None, stored: int | None = None
) -> WireUsage:
    return WireUsage(
        input_tokens=read,
        output_tokens=written,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=stored,
    )


SUCCESS = Result(subtype="success", num_turns=1, stop_reason="end_turn")


# What the client is told.


def receive(turn: NativeTurnDecoder, *records: Record) -> list[Event]:
    """The events but for the bounds of blocks, which `test_block_writer` looks at."""
    events = [event for record in records for event in turn.receive(record)]
    return [
        e for e in events if not isinstance(e, ContentBlockStart | ContentBlockStop)
    ]


def told(*records: Record) -> list[Event]:
    return receive(NativeTurnDecoder(NOW), *records)


def finish(events: Sequence[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def failure(events: Sequence[Event]) -> errors.CCProxyError:
    assert isinstance(events[-1], Failed)
    return events[-1].error


def answer(events: Iterable[Event]) -> str:
    """The text that a client has who heeds every restart."""
    before, current = "", ""
    for event in events:
        match event:
            case MessageStart():
                before, current = before + current, ""
            case Restarted():
                current = ""
            case TextDelta(piece):
                current += piece
    return before + current


# A normal answer.


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
        ControlRequest("r", ControlAsk("can_use_tool")),
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
    assert not turn.goes_on


def test_nothing_is_told_after_the_end() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start(), text("a"), stopped("end_turn"), SUCCESS)
    after = (start("msg_2"), text("b"), whole("c"), retry(), SUCCESS, NUDGE)
    assert receive(turn, *after) == []


# Cut answers.


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
    assert turn.goes_on


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
    assert turn.goes_on
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


# Claude Code's own tools.


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
        StreamLine(MessageStartEvent(MessageHead("s", MODEL)), "toolu_1"),
        StreamLine(MessageDeltaEvent(StopPart("max_tokens")), "toolu_1"),
    ],
)
def test_what_a_sub_agent_says_is_not_the_answer(record: Record) -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, start(), text("main"))
    assert receive(turn, record) == []
    assert not turn.is_over


# Refusals.


def test_a_retry_is_waiting() -> None:
    assert told(retry(attempt=3)) == [UpstreamRetry("overloaded", 3, 1.5)]


def test_a_retry_without_a_word_is_waiting_too() -> None:
    assert told(ApiRetry(attempt=1, retry_delay_ms=0)) == [
        UpstreamRetry("unknown", 1, 0.0)
    ]


def test_an_answer_after_retries_is_an_answer() -> None:
    events = told(retry(1), retry(2), start(), text("a"), stopped("end_turn"), SUCCESS)
    assert answer(events) == "a"
    assert finish(events).reason is FinishReason.STOP


def test_a_login_refused_once_is_tried_again() -> None:
    events = told(retry(1, 401, "authentication_failed"))
    assert [type(event) for event in events] == [UpstreamRetry]


def test_a_login_refused_twice_is_a_failure() -> None:
    turn = NativeTurnDecoder(NOW)
    events = receive(
        turn, retry(1, 401, "authentication_failed"), retry(2, 401, "unknown")
    )
    assert type(failure(events)) is errors.NotLoggedIn
    assert turn.is_over


def test_a_rate_limit_refused_often_is_still_waiting() -> None:
    events = told(*(retry(n, 429, "rate_limit") for n in range(1, 9)))
    assert {type(event) for event in events} == {UpstreamRetry}


@pytest.mark.parametrize(
    ("status", "kind", "api_type", "expected", "http"),
    [
        (
            400,
            "invalid_request",
            "invalid_request_error",
            errors.InvalidRequest,
            400,
        ),
        (
            401,
            "authentication_failed",
            "authentication_error",
            errors.NotLoggedIn,
            503,
        ),
        (402, "billing_error", "billing_error", errors.InsufficientQuota, 429),
        (403, "authentication_failed", "permission_error", errors.NotLoggedIn, 503),
        (404, "model_not_found", "not_found_error", errors.ModelNotFound, 404),
        (413, "invalid_request", "request_too_large", errors.RequestTooLarge, 413),
        (429, "rate_limit", "rate_limit_error", errors.RateLimited, 429),
        (500, "server_error", "api_error", errors.ClaudeFailed, 502),
        (504, "server_error", "timeout_error", errors.TimedOut, 504),
        (529, "server_error", "overloaded_error", errors.Overloaded, 503),
        (None, "unknown", None, errors.ClaudeFailed, 502),
    ],
)
def test_a_refusal_is_no_answer(
    status: int | None, kind: str, api_type: str | None, expected: type, http: int
) -> None:
    result = Result(
        subtype="success",
        is_error=True,
        api_error_status=status,
        api_error_type=api_type,
        terminal_reason="api_error",
        result="API Error: so says the upstream",
    )
    turn = NativeTurnDecoder(NOW)
    events = receive(turn, synthetic("API Error", kind), result)
    assert [type(event) for event in events] == [Failed]
    assert type(failure(events)) is expected
    assert failure(events).status == http
    assert "so says the upstream" in failure(events).message
    assert turn.is_over
    assert not turn.goes_on


def test_the_clis_word_is_heeded_where_there_is_no_status() -> None:
    result = Result(subtype="success", is_error=True, result="Not logged in")
    error = failure(told(synthetic("Not logged in", "authentication_failed"), result))
    assert type(error) is errors.NotLoggedIn


def test_a_prompt_that_is_too_long_is_told_apart() -> None:
    result = Result(
        subtype="success",
        is_error=True,
        api_error_status=400,
        terminal_reason="prompt_too_long",
        result="Prompt is too long",
    )
    error = failure(told(synthetic("Prompt is too long", "invalid_request"), result))
    assert type(error) is errors.ContextLengthExceeded


def test_a_rate_limit_tells_how_long_the_cli_would_wait() -> None:
    result = Result(subtype="success", is_error=True, api_error_status=429)
    error = failure(told(retry(1, 429, "rate_limit"), result))
    assert type(error) is errors.RateLimited
    assert error.retry_after_seconds == 1.5


def test_a_used_up_window_tells_when_it_is_lifted() -> None:
    result = Result(subtype="success", is_error=True, api_error_status=429)
    error = failure(told(rate_limit("rejected", NOW + 3600), result))
    assert type(error) is errors.InsufficientQuota
    assert error.retry_after_seconds == 3600.0


def test_a_window_that_is_not_used_up_changes_nothing() -> None:
    result = Result(subtype="success", is_error=True, api_error_status=429)
    error = failure(told(rate_limit("allowed_warning", NOW + 3600), result))
    assert type(error) is errors.RateLimited
    assert error.retry_after_seconds is None


def test_a_window_that_is_lifted_already_asks_for_no_wait() -> None:
    result = Result(subtype="success", is_error=True, api_error_status=429)
    error = failure(told(rate_limit("rejected", NOW - 5), result))
    assert error.retry_after_seconds == 0.0


def test_a_used_up_window_without_a_time_is_used_up() -> None:
    result = Result(subtype="success", is_error=True, api_error_status=429)
    error = failure(told(rate_limit("rejected", None), result))
    assert type(error) is errors.InsufficientQuota


def test_retries_that_end_in_mid_answer_are_a_failure() -> None:
    result = Result(
        subtype="success",
        is_error=True,
        api_error_status=529,
        api_error_type="overloaded_error",
        result="API Error: Overloaded",
    )
    error = failure(told(start(), text("half"), *CUT, retry(1), retry(2), result))
    assert type(error) is errors.Overloaded


@pytest.mark.parametrize(
    "subtype",
    [
        "error_during_execution",
        "error_max_turns",
    ],
)
def test_an_unsuccessful_result_is_a_failure(subtype: str) -> None:
    error = failure(told(start(), stopped("end_turn"), Result(subtype=subtype)))
    assert type(error) is errors.ClaudeFailed
    assert subtype in error.message


def test_the_errors_of_a_result_are_passed_on() -> None:
    result = Result(subtype="error_during_execution", errors=["first", "second"])
    assert failure(told(result)).message == "first; second"


def test_an_answer_of_the_clis_own_is_a_failure() -> None:
    result = Result(subtype="success", result="Blank prompt — type something")
    error = failure(told(result))
    assert type(error) is errors.ClaudeFailed
    # It may be the answer of another turn, told twice.
    assert "Blank prompt" not in error.message


@pytest.mark.parametrize("piece", [text("one"), OPENED, stopped("end_turn")])
def test_a_piece_of_an_answer_that_has_not_begun(piece: Record) -> None:
    assert "an answer that has not begun" in failure(told(piece)).message


@pytest.mark.parametrize("block", [3, {"text": "no type"}, {"type": "text", "text": 3}])
def test_a_block_of_another_shape_is_not_of_the_wire(block: object) -> None:
    with pytest.raises(WireError):
        told(AssistantLine(AssistantBody("msg_1", MODEL, [raw(block)])))
    with pytest.raises(WireError):
        told(start(), StreamLine(BlockStartEvent(raw(block))))


def test_a_piece_behind_the_end_of_an_answer() -> None:
    rest = [start(), text("one"), stopped("end_turn"), text("two")]
    assert "an answer that has not begun" in failure(told(*rest)).message


def test_the_message_of_the_turn_before_is_not_told_again() -> None:
    turn = NativeTurnDecoder(NOW, before="msg_1")
    late = whole("another's", identifier="msg_1", stop_reason="end_turn")
    events = receive(turn, late, start("msg_2"), text("one"), late, text(" two"))
    assert answer(events) == "one two"


def test_a_timeout_tells_what_the_cli_was_refused_for() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, retry(1, 429, "rate_limit"))
    error = turn.timeout_error(errors.TimedOut("no token"))
    assert type(error) is errors.RateLimited


def test_a_timeout_without_a_refusal_is_a_timeout() -> None:
    otherwise = errors.TimedOut("no token")
    assert NativeTurnDecoder(NOW).timeout_error(otherwise) is otherwise


def test_a_refusal_that_was_overcome_explains_no_timeout() -> None:
    turn = NativeTurnDecoder(NOW)
    receive(turn, retry(), start(), text("a"))
    otherwise = errors.TimedOut("silence")
    assert turn.timeout_error(otherwise) is otherwise


# Usage.


def test_usage_is_what_the_result_says() -> None:
    result = Result(subtype="success", usage=tokens(9, 20, cached=3, stored=4))
    events = told(start(usage=tokens(9, 1)), stopped("end_turn"), result)
    assert finish(events).usage == Usage(
        input_tokens=9, output_tokens=20, cache_read_tokens=3, cache_write_tokens=4
    )


def test_a_message_tells_its_input_when_it_begins() -> None:
    first, *_ = told(start(usage=tokens(9, 1, cached=3, stored=4)))
    assert first == MessageStart(
        MODEL,
        Usage(
            input_tokens=9, output_tokens=1, cache_read_tokens=3, cache_write_tokens=4
        ),
    )


def test_the_sequence_that_it_stopped_at() -> None:
    stop = StreamLine(MessageDeltaEvent(StopPart("stop_sequence", "X")))
    events = told(start(), stop, Result(subtype="success"))
    assert finish(events).stop_sequence == "X"
    assert finish(events).stop_reason == "stop_sequence"
    assert finish(events).reason is FinishReason.STOP


def test_a_refusal_ends_with_the_apis_word() -> None:
    end = finish(told(start(), stopped("refusal")))
    assert end.stop_reason == "refusal"
    assert end.stop_sequence is None


def test_the_cost_is_what_the_sum_has_grown_by() -> None:
    result = Result(subtype="success", total_cost_usd=0.75)
    turn = NativeTurnDecoder(0.0, spent_usd=0.5)
    events = receive(turn, start(), stopped("end_turn"), result)
    assert finish(events).cost_usd == 0.25
    assert finish(told(start(), stopped("end_turn"), result)).cost_usd == 0.75


def test_a_cost_that_is_not_told_is_not_known() -> None:
    result = Result(subtype="success")
    assert finish(told(start(), stopped("end_turn"), result)).cost_usd is None
    assert finish(told(start(), stopped("max_tokens"))).cost_usd is None


def test_without_a_result_usage_is_the_messages_last_word() -> None:
    events = told(
        start(usage=tokens(9, 1, cached=3, stored=4)),
        stopped("max_tokens", WireUsage(output_tokens=50)),
    )
    assert finish(events).usage == Usage(
        input_tokens=9, output_tokens=50, cache_read_tokens=3, cache_write_tokens=4
    )


def test_thinking_is_counted() -> None:
    details = OutputDetails(thinking_tokens=30)
    usage = WireUsage(output_tokens=50, output_tokens_details=details)
    events = told(start(usage=tokens(9, 1)), stopped("max_tokens", usage))
    assert finish(events).usage == Usage(
        input_tokens=9, output_tokens=50, thinking_tokens=30
    )


def test_a_count_of_zero_is_a_count() -> None:
    events = told(
        start(usage=tokens(9, 7)), stopped("refusal", WireUsage(output_tokens=0))
    )
    assert finish(events).usage == Usage(input_tokens=9)


def test_the_messages_of_one_turn_are_summed() -> None:
    events = told(
        start("msg_1", tokens(10, 1, cached=5)),
        stopped("tool_use", WireUsage(output_tokens=20)),
        STOP,
        start("msg_2", tokens(30, 1, cached=7)),
        stopped("tool_use", WireUsage(output_tokens=40)),
        STOP,
        start("msg_3", tokens(100, 1)),
        stopped("max_tokens", WireUsage(output_tokens=300)),
    )
    assert finish(events).usage == Usage(
        input_tokens=140, output_tokens=360, cache_read_tokens=12
    )


def test_a_voided_call_is_not_counted() -> None:
    both = Result(subtype="success", usage=tokens(20, 60))
    events = told(
        start("msg_1", tokens(10, 1)),
        text("half"),
        *CUT,
        start("msg_2", tokens(10, 1)),
        text("whole"),
        stopped("end_turn", WireUsage(output_tokens=30)),
        both,
    )
    assert finish(events).usage == Usage(input_tokens=10, output_tokens=30)


def test_a_call_before_the_voided_one_is_counted() -> None:
    events = told(
        start("msg_1", tokens(10, 1)),
        stopped("tool_use", WireUsage(output_tokens=20)),
        start("msg_2", tokens(100, 1)),
        text("half"),
        *CUT,
        whole("whole", identifier="msg_3", usage=tokens(100, 40)),
        Result(subtype="success", usage=tokens(210, 61)),
    )
    assert finish(events).usage == Usage(input_tokens=110, output_tokens=60)


# Whatever comes.

IDENTIFIERS = st.sampled_from(["msg_1", "msg_2", "msg_3"])
REASONS = st.sampled_from(
    [None, "end_turn", "tool_use", "max_tokens", "refusal", "pause_turn"]
)
STATUSES = st.sampled_from([None, 400, 401, 429, 500, 529])
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(start, IDENTIFIERS),
    st.builds(text, st.text(max_size=3)),
    st.builds(thinking, st.text(max_size=3)),
    st.builds(stopped, REASONS),
    st.sampled_from(
        [
            STOP,
            OPENED,
            CLOSED,
            StreamLine(OpaqueDeltaEvent(raw({"type": "a delta of a later API"}))),
            text("aside", parent="toolu_1"),
            UserLine(),
            NUDGE,
            rate_limit("rejected", NOW + 60),
            rate_limit("allowed", None),
        ]
    ),
    st.builds(whole, st.text(max_size=3), identifier=IDENTIFIERS, stop_reason=REASONS),
    st.builds(retry, st.integers(1, 10), STATUSES),
    st.builds(synthetic, st.text(), st.sampled_from(["rate_limit", "server_error"])),
    st.builds(
        Result,
        subtype=st.sampled_from(["success", "error_during_execution"]),
        is_error=st.booleans(),
        api_error_status=STATUSES,
    ),
)


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
    assert turn.is_over or not turn.goes_on


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


@given(st.lists(RECORDS))
def test_every_failure_has_words_for_the_user(records: list[Record]) -> None:
    for event in told(*records):
        if isinstance(event, Failed):
            assert event.error.message.strip()
