"""The provider's last error, read from the CLI's log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.protocol.error_log import (
    LoggedError,
    is_log_line,
    last_logged_error,
)

AT = "2026-11-28T18:07:49.862Z [ERROR]"


def document(message: str) -> str:
    error = {"type": "invalid_request_error", "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"})


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", None),
        ("some noise\n", None),
        (
            f"{AT} API error (attempt 1/2): 400 400 {document('no')}\n",
            LoggedError(400, "no"),
        ),
        (
            f"{AT} Error in API request: 529 {document('busy')}\n",
            LoggedError(529, "busy"),
        ),
        # Within a stream.
        (
            f"{AT} Error in API request: {document('cut')}\n",
            LoggedError(None, "cut"),
        ),
        # The last one counts, and nothing is said of another one.
        (
            f"{AT} API error (attempt 1/2): 429 429 {document('one')}\n"
            f"{AT} Error in API request: 400 {document('two')}\n{AT} API unknown: x\n",
            LoggedError(400, "two"),
        ),
        (
            f"{AT} API error (attempt 1/2): 429 429 {document('one')}\n"
            f"{AT} API error (attempt 2/2): undefined Connection error.\n",
            None,
        ),
        # No document of the Messages API; the beginning is lost; a line of a prompt.
        (f"{AT} Error in API request: 502 <html>Bad Gateway</html>\n", None),
        (f"API request: 400 {document('no')}\n", None),
        (f"x\nError in API request: 400 {document('no')}\n", None),
    ],
)
def test_the_last_error(log: str, found: LoggedError | None) -> None:
    assert last_logged_error(log) == found


@given(st.text())
def test_a_message_arrives_as_it_was(message: str) -> None:
    log = f"{AT} Error in API request: 400 {document(message)}\n"
    assert last_logged_error(log) == LoggedError(400, message)


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    last_logged_error(text)
    last_logged_error(f"{AT} Error in API request: {text}")


def test_lines_of_the_log_are_known() -> None:
    assert is_log_line(f"{AT} Error in API request: 400 {{}}")
    assert not is_log_line("panic: out of memory")
    assert not is_log_line("[ERROR] not the log's")
