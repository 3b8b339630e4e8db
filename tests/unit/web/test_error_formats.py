"""Errors as documents of the Messages API."""

import json

import pytest

from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    InsufficientQuota,
    InternalError,
    InvalidKey,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    QueueFull,
    RateLimited,
    RequestTooLarge,
    ShuttingDown,
    ThreadsUnsupported,
    TimedOut,
)
from ccproxy.web.error_formats import anthropic_error, anthropic_status
from tests.unit.api.messages.samples import refused


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("x"), 400, "invalid_request_error"),
        (InvalidKey("x"), 401, "authentication_error"),
        (ModelNotFound("x"), 404, "not_found_error"),
        (RequestTooLarge("x"), 413, "request_too_large"),
        (RateLimited("x"), 429, "rate_limit_error"),
        (InsufficientQuota("x"), 429, "rate_limit_error"),
        (InternalError("x"), 500, "api_error"),
        (ClaudeFailed("x"), 502, "api_error"),
        (NotLoggedIn("x"), 503, "api_error"),
        (TimedOut("x"), 504, "timeout_error"),
        (Overloaded("x"), 529, "overloaded_error"),
        (QueueFull("x"), 529, "overloaded_error"),
        (ShuttingDown("x"), 529, "overloaded_error"),
    ],
)
def test_errors(error: CCProxyError, status: int, kind: str) -> None:
    assert anthropic_status(error) == status
    assert json.loads(anthropic_error(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req_1",
    }


def test_a_thread_is_refused_as_their_sdk_expects() -> None:
    error = refused(thread={"type": "create"})
    assert isinstance(error, ThreadsUnsupported)
    told = json.loads(anthropic_error(error, "req_1"))["error"]
    assert told["type"] == "invalid_request_error"
    assert told["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
