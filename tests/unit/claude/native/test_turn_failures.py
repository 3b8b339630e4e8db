"""Refusals, retries and failures of a native turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.protocol.codec import Record, WireError
from ccproxy.claude.protocol.records import (
    ApiRetry,
    Result,
)
from ccproxy.claude.protocol.stream import (
    AssistantBody,
    AssistantLine,
    BlockStartEvent,
    StreamLine,
)
from ccproxy.core import errors
from ccproxy.core.stream import (
    Failed,
    FinishReason,
    UpstreamRetry,
)
from tests.unit.claude.native.turn_records import (
    CUT,
    MODEL,
    NOW,
    OPENED,
    RECORDS,
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
    synthetic,
    text,
    told,
    whole,
)


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
    assert not turn.will_send_own_request


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
    error = failure(told(rate_limit("rejected", None, "five_hour"), result))
    assert type(error) is errors.InsufficientQuota


def test_a_limit_that_is_not_the_plans_is_a_rate_limit() -> None:
    result = Result(subtype="success", is_error=True, api_error_status=429)
    error = failure(told(rate_limit("rejected", None), result))
    assert type(error) is errors.RateLimited


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


@given(st.lists(RECORDS))
def test_every_failure_has_words_for_the_user(records: list[Record]) -> None:
    for event in told(*records):
        if isinstance(event, Failed):
            assert event.error.message.strip()
