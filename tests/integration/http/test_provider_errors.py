"""What the provider refuses, in each API: before the first token and behind it."""

import json

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InsufficientQuota,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    TimedOut,
)
from ccproxy.core.stream import Failed
from tests.integration.http.conftest import BODIES, HTTP
from tests.support.backend import started
from tests.support.server import events
from tests.support.waiting import until

# The error; the status and the type in Anthropic's format.
REFUSALS = [
    (ContextLengthExceeded("x", param="p"), 400, "invalid_request_error"),
    (InvalidRequest("x", param="p"), 400, "invalid_request_error"),
    (ContentFiltered("x"), 400, "invalid_request_error"),
    (RequestTooLarge("x"), 413, "request_too_large"),
    (ModelNotFound("x", param="model"), 404, "not_found_error"),
    (RateLimited("x", retry_after_seconds=7), 429, "rate_limit_error"),
    (InsufficientQuota("x", retry_after_seconds=7), 429, "rate_limit_error"),
    (Overloaded("x", retry_after_seconds=7), 529, "overloaded_error"),
    (NotLoggedIn("x"), 503, "api_error"),
    (ClaudeFailed("x"), 502, "api_error"),
    (TimedOut("x"), 504, "timeout_error"),
]
NAMES = [type(error).__name__ for error, *_ in REFUSALS]
EACH_API = pytest.mark.parametrize("path", BODIES)


@pytest.mark.parametrize("stream", [False, True])
@EACH_API
@pytest.mark.parametrize(("error", "status", "kind"), REFUSALS, ids=NAMES)
@ensureDeferred
async def test_before_the_first_token(
    http: HTTP, path: str, error: CCProxyError, status: int, kind: str, stream: bool
) -> None:
    http.backend.asked = lambda ask: ask.tell(Failed(error))
    body = {**BODIES[path], "stream": stream}
    response = await http.request("POST", path, json=body)
    found = (await response.json())["error"]
    is_anthropic = path == "/v1/messages"
    assert response.code == (status if is_anthropic else error.status)
    assert found == _document(error, kind, is_anthropic=is_anthropic)
    wait = ["7"] if error.retry_after_seconds else None
    assert response.headers.getRawHeaders("retry-after") == wait
    # The SDKs repeat 408, 409, 429 and 5xx.
    repeats = error.status in (408, 409, 429) or error.status >= 500
    told = ["false"] if repeats and not error.should_retry else None
    assert response.headers.getRawHeaders("x-should-retry") == told


@pytest.mark.parametrize("stream", [False, True])
@EACH_API
@ensureDeferred
async def test_what_is_left_out_of_a_second_try_is_named(
    http: HTTP, path: str, stream: bool
) -> None:
    http.backend.adjusted, http.backend.ignored = ("a",), ("b",)
    asked = http.request("POST", path, json={**BODIES[path], "stream": stream})
    await until(lambda: http.backend.asks)
    [ask] = http.backend.asks
    ask.adjusted, ask.ignored = ("tools[0].strict",), ("messages[1].content[0]",)
    ask.answer("x")
    response = await asked
    assert response.code == 200
    await response.text()
    told = {
        name: ", ".join(response.headers.getRawHeaders(f"x-ccproxy-{name}") or ())
        for name in ("adjusted", "ignored")
    }
    assert told == {
        "adjusted": "a, tools[0].strict",
        "ignored": "b, messages[1].content[0]",
    }


@EACH_API
@pytest.mark.parametrize(("error", "status", "kind"), REFUSALS, ids=NAMES)
@ensureDeferred
async def test_behind_the_first_token(
    http: HTTP, path: str, error: CCProxyError, status: int, kind: str
) -> None:
    asked = http.request("POST", path, json={**BODIES[path], "stream": True})
    await until(lambda: http.backend.asks)
    http.backend.asks[0].tell(*started("half"))
    response = await asked
    http.backend.asks[0].tell(Failed(error))
    text = await response.text()
    assert response.code == 200
    ends = [json.loads(data) for data in events(text) if data != "[DONE]"]
    if path == "/v1/responses":
        assert ends[-1]["type"] == "response.failed"
        [told] = [end for end in ends if end["type"] == "error"]
        assert (told["message"], told["param"]) == ("x", error.param)
        assert told["code"] == error.code
    else:
        is_anthropic = path == "/v1/messages"
        assert ends[-1]["error"] == _document(error, kind, is_anthropic=is_anthropic)
        assert "[DONE]" not in text


def _document(
    error: CCProxyError, kind: str, *, is_anthropic: bool
) -> dict[str, object]:
    if is_anthropic:
        return {"type": kind, "message": "x"}
    return {
        "message": "x",
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
