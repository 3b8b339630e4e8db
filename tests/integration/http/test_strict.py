"""``--strict``: a field that has no effect is refused instead of named."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest
from msgspec import Struct
from pytest_twisted import ensureDeferred

from ccproxy.api.chat.request import ChatRequest
from ccproxy.api.common.fates import Fate, declared
from ccproxy.api.responses.input.fields import ResponsesRequest
from tests.integration.http.conftest import HTTP
from tests.support.backend import ScriptedRequest

Serve: TypeAlias = Callable[..., HTTP]
HI = {"role": "user", "content": "hi"}
BODIES: Mapping[type[Struct], tuple[str, Mapping[str, Any]]] = {
    ChatRequest: ("/v1/chat/completions", {"messages": [HI]}),
    ResponsesRequest: ("/v1/responses", {"input": [HI]}),
}
# A value of a field that is not any object.
VALUES: Mapping[str, Any] = {
    "logprobs": True,
    "top_logprobs": 3,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 7,
    "logit_bias": {"50256": -100},
    "max_tool_calls": 3,
}


def fields(*fates: Fate) -> list[tuple[type[Struct], str]]:
    return [
        (struct, name)
        for struct in BODIES
        for name, field in declared(struct).items()
        if field.fate.fate in fates
    ]


def answer(ask: ScriptedRequest) -> None:
    ask.answer("one")


async def outcome(http: HTTP, struct: type[Struct], name: str) -> Any:
    path, body = BODIES[struct]
    http.backend.asked = answer
    whole = {**body, name: VALUES.get(name, "zq")}
    response = await http.request("POST", path, json=whole)
    return response, await response.json()


@ensureDeferred
async def test_what_is_harmless_to_leave_out_is_named_or_with_strict_refused(
    serve: Serve,
) -> None:
    lenient, strict = serve(), serve(strict=True)
    harmless = fields(Fate.IGNORED, Fate.LEFT_OUT)
    assert len(harmless) > 20
    for struct, name in harmless:
        response, _ = await outcome(lenient, struct, name)
        named = response.headers.getRawHeaders("x-ccproxy-ignored")
        assert (response.code, named) == (200, [name])
        response, document = await outcome(strict, struct, name)
        error = document["error"]
        told = (response.code, error["param"], error["code"])
        assert told == (400, name, "unsupported_value")
    assert len(strict.backend.asks) == 0


@ensureDeferred
async def test_what_changes_the_meaning_is_refused_always(serve: Serve) -> None:
    for server in (serve(), serve(strict=True)):
        for struct, name in fields(Fate.REFUSED):
            response, document = await outcome(server, struct, name)
            assert (response.code, document["error"]["param"]) == (400, name)


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
@ensureDeferred
async def test_without_such_a_field_strict_changes_nothing(
    serve: Serve, path: str
) -> None:
    http = serve(strict=True)
    http.backend.asked = answer
    field = "input" if path == "responses" else "messages"
    body = {"model": "sonnet", "max_tokens": 50, field: [HI]}
    body |= {"max_output_tokens": body.pop("max_tokens")} if field == "input" else {}
    response = await http.request("POST", f"/v1/{path}", json=body)
    assert response.code == 200
    await response.content()


@ensureDeferred
async def test_strict_refuses_what_the_composer_names(serve: Serve) -> None:
    http = serve(strict=True)
    http.backend.ignored = ("temperature",)
    body = {"max_tokens": 50, "messages": [HI], "temperature": 0.5}
    response = await http.request("POST", "/v1/messages", json=body)
    document = await response.json()
    assert (response.code, "temperature" in document["error"]["message"]) == (400, True)
