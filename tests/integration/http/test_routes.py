"""The public HTTP surface: every route, status, header and error document."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.core.errors import NotLoggedIn, RateLimited
from ccproxy.core.stream import Failed
from tests.conftest import ExpectedErrors
from tests.integration.http.conftest import HTTP
from tests.support.backend import ScriptedRequest, started
from tests.support.server import KEY, chat_body
from tests.support.spec import error_errors, model_errors, models_errors
from tests.support.waiting import until


def header(response: Any, name: str) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[0] if values else None


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
@ensureDeferred
async def test_health_needs_no_key(http: HTTP, path: str) -> None:
    response = await http.request("GET", path, key=None)
    assert (response.code, await response.text()) == (200, "ok")
    assert str(header(response, "x-request-id")).startswith("req_")


@pytest.mark.parametrize("path", ["/health", "/v1/models"])
@ensureDeferred
async def test_head_is_get_without_the_body(http: HTTP, path: str) -> None:
    got = await http.request("GET", path)
    length = len(await got.content())
    response = await http.request("HEAD", path)
    assert (response.code, await response.content()) == (200, b"")
    assert header(response, "content-length") == str(length)


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
@ensureDeferred
async def test_models(http: HTTP, path: str) -> None:
    response = await http.request("GET", path)
    document = await response.json()
    assert models_errors(document) == []
    assert [model["id"] for model in document["data"]] == ["haiku", "sonnet", "opus"]


@pytest.mark.parametrize("name", ["opus", "anthropic/claude-opus-4.5", "OPUS"])
@pytest.mark.parametrize("prefix", ["", "/v1"])
@ensureDeferred
async def test_one_model_by_any_name_that_would_be_answered(
    http: HTTP, prefix: str, name: str
) -> None:
    response = await http.request("GET", f"{prefix}/models/{name}")
    document = await response.json()
    assert model_errors(document) == []
    assert document["id"] == "opus"


@ensureDeferred
async def test_unknown_model(http: HTTP) -> None:
    response = await http.request("GET", "/v1/models/gpt-4o")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (404, "model_not_found")
    assert "opus" in document["error"]["message"]


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
@ensureDeferred
async def test_chat_on_both_paths(http: HTTP, path: str) -> None:
    http.backend.asked = lambda ask: ask.tell(*started("yes"))
    body = {"messages": [{"role": "user", "content": "hello"}]}
    asked = http.request("POST", path, json=body)
    await until(lambda: http.backend.asks)
    http.backend.asks[0].answer("whole")
    document = await (await asked).json()
    assert document["choices"][0]["message"]["content"] == "yeswhole"
    assert document["id"].startswith("chatcmpl-")
    assert document["created"] == 1700000000


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "no API key"),
        ({"authorization": "Bearer wrong"}, "wrong"),
        ({"authorization": f"Bearer {KEY}x"}, "wrong"),
        ({"authorization": "Bearer"}, "wrong"),
        ({"authorization": "Bearer \xff\xfe"}, "wrong"),
        ({"authorization": f"Basic {KEY}"}, "Authorization: Bearer KEY"),
        ({"authorization": [f"Bearer {KEY}", f"Bearer {KEY}"]}, "one header"),
        ({"api-key": "wrong"}, "wrong"),
        ({"x-api-key": "wrong"}, "wrong"),
        ({"x-api-key": "wrong", "authorization": f"Basic {KEY}"}, "wrong"),
    ],
)
@pytest.mark.parametrize("with_body", [False, True])
@ensureDeferred
async def test_wrong_key(
    http: HTTP, headers: dict[str, Any], words: str, with_body: bool
) -> None:
    if with_body:
        response = await http.request(
            "POST", "/v1/chat/completions", key=None, headers=headers, data=b"{}"
        )
    else:
        response = await http.request("GET", "/v1/models", key=None, headers=headers)
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (401, "invalid_api_key")
    assert error_errors(document) == []
    assert words in document["error"]["message"]
    assert header(response, "www-authenticate") == "Bearer"
    assert header(response, "x-request-id")
    assert http.backend.asks == []


@ensureDeferred
async def test_scheme_is_case_insensitive(http: HTTP) -> None:
    headers = {"authorization": f"bearer {KEY}"}
    response = await http.request("GET", "/v1/models", key=None, headers=headers)
    assert response.code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/v2/models", "/v1/chat", "/chat/", "/nope"])
@ensureDeferred
async def test_unknown_path(http: HTTP, method: str, path: str) -> None:
    response = await http.request(method, path)
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (404, "not_found")
    # The page that it names is one that a client can get.
    assert "GET /openapi.json" in document["error"]["message"]
    page = await http.request("GET", "/openapi.json")
    assert (await page.json())["openapi"]
    assert error_errors(document) == []
    assert header(response, "content-type") == "application/json"
    assert header(response, "x-request-id")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/models/opus", "GET, HEAD"),
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/health", "GET, HEAD"),
    ],
)
@ensureDeferred
async def test_wrong_method(http: HTTP, method: str, path: str, allow: str) -> None:
    response = await http.request(method, path)
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (405, "method_not_allowed")
    assert error_errors(document) == []
    assert header(response, "allow") == allow


@ensureDeferred
async def test_options_tells_the_methods(http: HTTP) -> None:
    response = await http.request("OPTIONS", "/v1/chat/completions", key=None)
    assert (response.code, await response.content()) == (204, b"")
    assert header(response, "allow") == "POST"
    assert header(response, "access-control-allow-origin") is None


@pytest.mark.parametrize(
    "path",
    [
        *("//models", "//v1/models", "///v1/models", "/%2Fv1/models", "/v1%2Fmodels"),
        *(
            "/v1/models/",
            "/v1//models",
            "/models//",
            "/v1/v1/models",
            "/v1/v1//models/",
        ),
        *(
            "/openai/v1/models?api-version=preview",
            "/openai/models",
            "/anthropic/v1/models",
        ),
        *("/engines", "/v1/engines"),
    ],
)
@ensureDeferred
async def test_paths_of_the_models(http: HTTP, path: str) -> None:
    response = await http.request("GET", path)
    assert models_errors(await response.json()) == []


@pytest.mark.parametrize(
    "path",
    [
        *("/chat/completions", "/v1/chat/completions", "/v1/v1/chat/completions"),
        *("/v1/chat/completions/", "/v1//chat/completions", "/chat//completions"),
        "/openai/v1/chat/completions",
        "/openai/deployments/opus/chat/completions?api-version=2024-10-21",
        "/v1/deployments/opus/chat/completions",
    ],
)
@ensureDeferred
async def test_paths_of_chat_completions(http: HTTP, path: str) -> None:
    http.backend.asked = lambda ask: ask.answer("here")
    response = await http.request("POST", path, json=chat_body("hello"))
    assert response.code == 200
    assert (await response.json())["object"] == "chat.completion"


@ensureDeferred
async def test_azures_path_names_the_model(http: HTTP) -> None:
    http.backend.asked = lambda ask: ask.answer("here")
    path = "/openai/deployments/anthropic/opus/chat/completions"
    body = chat_body("hello", model="haiku")
    response = await http.request("POST", path, json=body)
    assert response.code == 200
    assert http.backend.asks[-1].question.request.model == "anthropic/opus"


@pytest.mark.parametrize(
    "path", ["/v1x/models", "/v2/models", "/api/v1/models", "/v1/chat/completions/v1"]
)
@ensureDeferred
async def test_other_paths_are_told_the_base_url(http: HTTP, path: str) -> None:
    response = await http.request("GET", path, headers={"host": "localhost:9"})
    error = (await response.json())["error"]
    assert (response.code, error["code"]) == (404, "not_found")
    assert "http://localhost:9/v1 for clients of OpenAI's API" in error["message"]
    assert "http://localhost:9 for clients of Anthropic's" in error["message"]


@pytest.mark.parametrize("path", ["/", "", "/v1", "/v1/", "/?a=b"])
@ensureDeferred
async def test_root_tells_people_the_base_url(http: HTTP, path: str) -> None:
    response = await http.request("GET", path, key=None)
    text = (await response.content()).decode()
    assert response.code == 200
    assert f"http://127.0.0.1:{http.number}/v1 for clients of OpenAI's" in text
    response = await http.request("HEAD", path, key=None)
    assert (response.code, await response.content()) == (200, b"")


@ensureDeferred
async def test_azures_clients_send_their_own_header(http: HTTP) -> None:
    response = await http.request("GET", "/models", key=None, headers={"api-key": KEY})
    assert response.code == 200


@pytest.mark.parametrize("query", ["key=x", "a=b&api_key=x", "api-key=x", "KEY=x"])
@ensureDeferred
async def test_key_in_the_url_is_refused_in_words(http: HTTP, query: str) -> None:
    for method, data in (("GET", None), ("POST", b"{}")):
        path = f"/models?{query}"
        response = await http.request(method, path, key=None, data=data)
        assert response.code == 401
        assert "from the URL" in (await response.json())["error"]["message"]


@ensureDeferred
async def test_path_that_is_not_utf8(http: HTTP) -> None:
    response = await http.request("GET", "/v1/models/%ff%fe")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_request"),
        (b"{", None, "invalid_request"),
        (b"\xff", None, "invalid_request"),
        (b"[]", None, "invalid_request"),
        (b"[" * 5000, None, "invalid_request"),
        (b"{}", "messages", "missing_required_parameter"),
        (b'{"messages":[{}]}', "messages[0].role", "missing_required_parameter"),
        (b'{"messages":[{"role":1}]}', "messages[0].role", "invalid_request"),
        (b'{"messages":[]}', "messages", "invalid_request"),
        (b'{"messages":[{"role":"user","content":"\xff"}]}', None, "invalid_request"),
        (
            b'{"messages":[{"role":"user","content":"x"}],"audio":{"voice":"a"}}',
            "audio",
            "unsupported_value",
        ),
    ],
)
@ensureDeferred
async def test_bad_body(http: HTTP, body: bytes, param: str | None, code: str) -> None:
    response = await http.request("POST", "/v1/chat/completions", data=body)
    document = await response.json()
    assert response.code == 400
    assert error_errors(document) == []
    assert (document["error"]["param"], document["error"]["code"]) == (param, code)


@ensureDeferred
async def test_error_with_its_headers(http: HTTP) -> None:
    def refuse(ask: ScriptedRequest) -> None:
        ask.tell(Failed(RateLimited("slow down", retry_after_seconds=2.1)))

    http.backend.asked = refuse
    response = await http.chat("hello")
    assert (response.code, header(response, "retry-after")) == (429, "3")
    assert header(response, "x-should-retry") is None
    await response.content()

    http.backend.asked = lambda ask: ask.tell(Failed(NotLoggedIn("log in")))
    response = await http.chat("hello")
    assert (response.code, header(response, "x-should-retry")) == (503, "false")
    assert header(response, "retry-after") is None
    await response.content()

    # Otherwise, Claude Code would repeat the request for minutes.
    wrong = {"authorization": "Bearer wrong"}
    response = await http.request("GET", "/v1/models", headers=wrong)
    assert (response.code, header(response, "x-should-retry")) == (401, "false")


@ensureDeferred
async def test_fault_of_ours_is_told_by_its_id_only(
    http: HTTP, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("RuntimeError")

    def fail(ask: ScriptedRequest) -> None:
        raise RuntimeError("secret detail")

    http.backend.asked = fail
    response = await http.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (500, "internal_error")
    assert error_errors(document) == []
    assert "secret" not in document["error"]["message"]
    assert str(header(response, "x-request-id")) in document["error"]["message"]


@ensureDeferred
async def test_many_choices_are_asked_in_turns(http: HTTP) -> None:
    """A request for more choices than the queue has places does not fail by that."""
    asked = http.chat("hello", n=128)
    most = answered = 0
    while answered < 128:
        await until(lambda: len(http.backend.asks) > answered)  # noqa: B023
        most = max(most, len(http.backend.asks) - answered)
        http.backend.asks[answered].answer(f"answer {answered}")
        answered += 1
    document = await (await asked).json()
    said = [choice["message"]["content"] for choice in document["choices"]]
    assert said == [f"answer {number}" for number in range(128)]
    assert most == 8


@ensureDeferred
async def test_one_of_several_choices_fails(http: HTTP) -> None:
    asked = http.chat("hello", n=3)
    await until(lambda: http.backend.asks)
    http.backend.asks[0].answer("fine")
    await until(lambda: len(http.backend.asks) == 3)
    http.backend.asks[1].tell(Failed(NotLoggedIn("log in")))
    response = await asked
    assert response.code == 503
    assert http.backend.asks[2].cancelled


@ensureDeferred
async def test_connection_is_kept_for_the_next_request(http: HTTP) -> None:
    from tests.support.raw import request

    client = await http.connect()
    client.send(request("GET", "/health"))
    await client.expect(b"\r\n\r\nok")
    client.send(request("GET", "/v1/health") + request("GET", "/nope"))
    await until(lambda: client.received.count(b"\r\n\r\nok") == 2)
    await client.expect(b"404 Not Found")
    assert not client.is_lost
    client.abort()
    assert json.loads(client.received.rpartition(b"\r\n\r\n")[2])["error"]
