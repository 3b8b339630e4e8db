"""The CLI's failures, translated to errors of the proxy."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.protocol.error_log import LoggedError
from ccproxy.claude.protocol.failures import Refusal, error_for
from ccproxy.claude.protocol.records import ApiRetry
from ccproxy.claude.protocol.turn_failures import refusal_of_retry
from ccproxy.core import errors
from ccproxy.core.errors import Cause
from tests.support.refusals import REFUSED, TABLE, USED_UP

KINDS = (
    "authentication_failed",
    "oauth_org_not_allowed",
    "billing_error",
    "rate_limit",
    "overloaded",
    "model_not_found",
    "invalid_request",
    "server_error",
    "max_output_tokens",
    "unknown",
)
API_TYPES = ("authentication_error", "overloaded_error", "not_found_error", "api_error")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.InvalidRequest),
        (401, errors.NotLoggedIn),
        (402, errors.InsufficientQuota),
        (403, errors.NotLoggedIn),
        (404, errors.ModelNotFound),
        (408, errors.TimedOut),
        (413, errors.RequestTooLarge),
        (429, errors.RateLimited),
        (500, errors.ClaudeFailed),
        (502, errors.ClaudeFailed),
        (503, errors.ClaudeFailed),
        (504, errors.TimedOut),
        (529, errors.Overloaded),
        (None, errors.ClaudeFailed),
    ],
)
def test_a_status_decides(status: int | None, expected: type) -> None:
    assert type(error_for(Refusal(status=status, text="no"))) is expected


@pytest.mark.parametrize(
    ("api_type", "expected"),
    [
        ("authentication_error", errors.NotLoggedIn),
        ("permission_error", errors.NotLoggedIn),
        ("billing_error", errors.InsufficientQuota),
        ("rate_limit_error", errors.RateLimited),
        ("overloaded_error", errors.Overloaded),
        ("not_found_error", errors.ModelNotFound),
        ("request_too_large", errors.RequestTooLarge),
        ("timeout_error", errors.TimedOut),
        ("invalid_request_error", errors.InvalidRequest),
        ("api_error", errors.ClaudeFailed),
    ],
)
def test_the_upstreams_type_decides(api_type: str, expected: type) -> None:
    assert type(error_for(Refusal(api_type=api_type, text="no"))) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("authentication_failed", errors.NotLoggedIn),
        ("oauth_org_not_allowed", errors.NotLoggedIn),
        ("billing_error", errors.InsufficientQuota),
        ("rate_limit", errors.RateLimited),
        ("overloaded", errors.Overloaded),
        ("model_not_found", errors.ModelNotFound),
        ("invalid_request", errors.InvalidRequest),
        ("server_error", errors.ClaudeFailed),
        ("a word of a later version", errors.ClaudeFailed),
    ],
)
def test_the_clis_word_decides(kind: str, expected: type) -> None:
    assert type(error_for(Refusal(kind=kind, text="no"))) is expected


def test_each_line_of_the_table_is_tested() -> None:
    assert set(TABLE) == {*REFUSED, *USED_UP}


@pytest.mark.parametrize("said", REFUSED)
def test_the_provider_s_words_decide(said: str) -> None:
    """By the table in docs/errors.md."""
    status, kind, message = REFUSED[said]
    refusal = Refusal(status=status, api_type=kind, message=message or said)
    error = error_for(refusal)
    assert (error.status, error.code) == TABLE[said]
    assert said in error.message


def test_the_upstreams_type_counts_more_than_the_clis_word() -> None:
    refusal = Refusal(
        kind="server_error", status=529, api_type="overloaded_error", text="busy"
    )
    assert type(error_for(refusal)) is errors.Overloaded


def test_the_status_counts_more_than_the_clis_word() -> None:
    refusal = Refusal(kind="server_error", status=529)
    assert type(error_for(refusal)) is errors.Overloaded


def test_a_prompt_that_is_too_long_is_no_other_bad_request() -> None:
    error = error_for(
        Refusal(
            kind="invalid_request",
            status=400,
            api_type="invalid_request_error",
            terminal_reason="prompt_too_long",
            text="Prompt is too long",
        )
    )
    assert type(error) is errors.ContextLengthExceeded
    assert error.param == "messages"


def test_the_cli_s_own_limit_is_a_long_prompt_too() -> None:
    refusal = Refusal(terminal_reason="blocking_limit", text="Prompt is too long")
    assert type(error_for(refusal)) is errors.ContextLengthExceeded


def test_the_provider_s_message_counts_more_than_the_cli_s() -> None:
    numbers = "prompt is too long: 9 tokens > 8 maximum"
    refusal = Refusal(status=400, text="Prompt is too long", message=numbers)
    error = error_for(refusal)
    assert type(error) is errors.ContextLengthExceeded
    assert error.message.startswith(numbers)


def test_a_message_of_another_refusal_is_not_taken() -> None:
    record = ApiRetry(attempt=1, retry_delay_ms=500, error_status=529)
    for status, words in ((529, "busy"), (None, "busy"), (400, "(529)")):
        refusal = refusal_of_retry(record, LoggedError(status, "busy"), used_up=False)
        assert words in error_for(refusal).message


def test_words_of_a_server_error_do_not_count() -> None:
    refusal = Refusal(status=500, message="prompt is too long to say")
    assert type(error_for(refusal)) is errors.ClaudeFailed


def test_a_limit_of_the_api_key_ends_when_the_provider_says() -> None:
    message = (
        "You have reached your specified workspace API usage limits. You will regain "
        "access on 2026-12-01 at 00:00 UTC."
    )
    told = Refusal(status=400, message=message, wall_seconds=1796083200.0 - 90)
    error = error_for(told)
    assert type(error) is errors.InsufficientQuota
    assert error.retry_after_seconds == 90
    assert error_for(evolve(told, wall_seconds=2e9)).retry_after_seconds == 0
    odd = evolve(told, message=message.replace("12-01", "99-99"))
    assert error_for(odd).retry_after_seconds is None


def test_a_refused_login_tells_how_to_log_in() -> None:
    error = error_for(Refusal(kind="authentication_failed", text="Invalid API key"))
    assert "Invalid API key" in error.message
    assert "Run `ccproxy doctor`" in error.message
    assert not error.should_retry


def test_a_used_up_window_is_no_mere_rate_limit() -> None:
    error = error_for(
        Refusal(
            kind="rate_limit",
            status=429,
            api_type="rate_limit_error",
            text="limit reached",
            retry_after_seconds=3600.0,
            used_up=True,
        )
    )
    assert type(error) is errors.InsufficientQuota
    assert error.retry_after_seconds == 3600.0


@pytest.mark.parametrize("status", [429, 529])
def test_the_wait_is_passed_on(status: int) -> None:
    error = error_for(Refusal(status=status, text="busy", retry_after_seconds=7.5))
    assert error.retry_after_seconds == 7.5


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("rate_limit", 429, "refused the request (429)"),
        ("overloaded", None, "refused the request (overloaded)"),
        ("unknown", None, "connection to the model's provider failed"),
        ("", None, "connection to the model's provider failed"),
        (None, None, "connection to the model's provider failed"),
    ],
)
def test_what_is_told_when_no_try_was_of_use(
    kind: str | None, status: int | None, words: str
) -> None:
    record = ApiRetry(
        error=kind, error_status=status, attempt=3, max_retries=3, retry_delay_ms=500
    )
    assert words in error_for(refusal_of_retry(record, used_up=False)).message


@pytest.mark.parametrize(
    ("kind", "status", "cause"),
    [
        ("rate_limit", 429, Cause.PROVIDER_LIMIT),
        ("overloaded", None, Cause.PROVIDER_OVERLOADED),
        ("unknown", None, Cause.CONNECTION_LOST),
        ("", None, Cause.CONNECTION_LOST),
        (None, None, Cause.CONNECTION_LOST),
        ("unknown", 500, Cause.PROVIDER_FAILED),
        (None, 500, Cause.PROVIDER_FAILED),
        ("server_error", None, Cause.PROVIDER_FAILED),
        ("invalid_request", 400, Cause.PROVIDER_REFUSED),
        (None, 504, Cause.PROVIDER_TIMEOUT),
    ],
)
def test_why_no_try_was_of_use_is_a_word(
    kind: str | None, status: int | None, cause: Cause
) -> None:
    record = ApiRetry(
        error=kind, error_status=status, attempt=3, max_retries=3, retry_delay_ms=500
    )
    assert error_for(refusal_of_retry(record, used_up=False)).cause is cause


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (Refusal(kind="server_error"), Cause.CONNECTION_LOST),
        (Refusal(kind="unknown"), Cause.CONNECTION_LOST),
        (Refusal(kind="server_error", status=500), Cause.PROVIDER_FAILED),
        (Refusal(kind="server_error", api_type="api_error"), Cause.PROVIDER_FAILED),
        (Refusal(kind="a word of a later version"), Cause.PROVIDER_FAILED),
        (Refusal(), Cause.PROVIDER_FAILED),
    ],
)
def test_an_end_without_a_response_is_a_lost_connection(
    refusal: Refusal, cause: Cause
) -> None:
    ended = evolve(refusal, terminal_reason="api_error")
    assert error_for(ended).cause is cause


def test_an_unknown_model_names_the_parameter() -> None:
    assert error_for(Refusal(status=404, text="no such model")).param == "model"


def test_the_clis_prefix_is_left_out() -> None:
    error = error_for(Refusal(status=500, text="API Error: 500 Internal error "))
    assert error.message == "Internal error"


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        (Refusal(status=500, kind="server_error"), "500"),
        (Refusal(kind="server_error", text="API Error: "), "server_error"),
        (Refusal(text="  "), "no reason"),
    ],
)
def test_without_words_the_message_tells_what_is_known(
    refusal: Refusal, named: str
) -> None:
    assert named in error_for(refusal).message


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refusal(kind="authentication_failed"), True),
        (Refusal(status=401), True),
        (Refusal(status=403), True),
        (Refusal(status=429, kind="rate_limit"), False),
        (Refusal(), False),
    ],
)
def test_only_some_refusals_are_about_the_login(
    refusal: Refusal, expected: bool
) -> None:
    assert refusal.is_about_login is expected


@given(
    st.builds(
        Refusal,
        kind=st.none() | st.sampled_from(KINDS) | st.text(),
        status=st.none() | st.integers(),
        api_type=st.none() | st.sampled_from(API_TYPES) | st.text(),
        terminal_reason=st.none() | st.sampled_from(["api_error", "prompt_too_long"]),
        text=st.text(),
        message=st.none() | st.text(),
        retry_after_seconds=st.none() | st.floats(min_value=0),
        used_up=st.booleans(),
    )
)
def test_any_refusal_has_an_error_with_words(refusal: Refusal) -> None:
    error = error_for(refusal)
    assert isinstance(error, errors.ClientError | errors.ClaudeError)
    assert error.message.strip()
    assert 400 <= error.status < 600


@pytest.mark.parametrize(
    "text",
    [
        " " * 1_000_000,
        "Run /a " * 100_000,
        "not available on " * 100_000,
        "reached your specified " * 100_000,
        "API Error: 400 " * 100_000,
    ],
)
def test_a_text_of_megabytes_is_read_in_time(text: str) -> None:
    # Without a limit, the regular expressions take hours.
    error = error_for(Refusal(text=text, status=400))
    assert isinstance(error, errors.InvalidRequest)
    assert 0 < len(error.message) <= 4000


@pytest.mark.parametrize("kind", ["unknown", "server_error"])
def test_a_provider_that_sends_nothing(kind: str) -> None:
    text = "API Error: Stream idle timeout - no chunks received"
    silent = Refusal(kind=kind, terminal_reason="api_error", text=text)
    error = error_for(silent)
    assert type(error) is errors.TimedOut
    assert error.cause is Cause.PROVIDER_TIMEOUT
    assert type(error_for(evolve(silent, status=500))) is errors.ClaudeFailed
