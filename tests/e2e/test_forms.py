"""Answers of a form: by a schema, or a call that is demanded; on the real CLI."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from openai.lib.streaming.responses import ResponseStreamEvent
from pydantic import BaseModel
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from ccproxy.server.fake_upstream import Block, Reply, words
from tests.e2e.test_chat import chunks_of, text_of
from tests.e2e.test_openai import client
from tests.e2e.test_tools import BASH, ONE, TOOLS, TWO, call, calls, native
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.spec import document_errors, response_errors

Start = Callable[..., RunningProxy]

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"type": "string"}, "warm": {"$ref": "#/$defs/warm"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
    "$defs": {"warm": {"type": "boolean", "x-own": "a"}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
GOOD = '{"city": "Paris", "warm": true}'


def structured(*answers: str, before: tuple[Block, ...] = ()) -> Reply:
    """A reply by the schema, as the model gives it."""
    made = [
        Block((text[:9], text[9:]), tool_use=(f"toolu_s{n}", "StructuredOutput"))
        for n, text in enumerate(answers)
    ]
    return calls(*before, *made)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_answer_by_a_schema(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.script(structured(GOOD, before=(words("Here it is:"),)))
    server = proxy()
    response = await server.chat("hello", response_format=FORMAT, stream=stream)
    if stream:
        chunks = chunks_of(await response.text())
        assert text_of(chunks) == GOOD
        assert [c["choices"][0]["finish_reason"] for c in chunks][-1] == "stop"
        texts = [c["choices"][0]["delta"].get("content") for c in chunks]
        assert texts[1:3] == [GOOD[:9], GOOD[9:]]
    else:
        document = await response.json()
        assert document_errors(document) == []
        [choice] = document["choices"]
        assert choice["message"]["content"] == GOOD
        assert choice["finish_reason"] == "stop"
        assert document["usage"]["completion_tokens"] == 20
    [body] = upstream.bodies
    [tool] = body["tools"]
    # What the CLI would not understand is left out, or it would drop the whole schema.
    assert tool["input_schema"]["$defs"] == {"warm": {"type": "boolean"}}
    assert tool["input_schema"]["required"] == ["city", "warm"]


@ensureDeferred
async def test_answer_by_a_schema_in_responses(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.script(structured(GOOD))
    form = {"type": "json_schema", "name": "weather", "schema": SCHEMA}
    body = {"input": "hello", "text": {"format": form}}
    document = await (await proxy().post("/v1/responses", body)).json()
    assert response_errors(document) == []
    assert document["status"] == "completed"
    assert document["output"][0]["content"][0]["text"] == GOOD
    assert document["text"]["format"]["schema"] == SCHEMA


PROSE = answer("It is warm in Paris.")


@pytest.mark.parametrize(
    "first", [PROSE, structured('{"city": "Paris"}'), structured('{"city": "Pa')]
)
@ensureDeferred
async def test_second_try_is_the_answer(
    proxy: Start, upstream: Upstream, first: Reply
) -> None:
    """The CLI asks again; what was wrong is not in the document."""
    upstream.replies(first, structured(GOOD))
    response = await proxy().chat("hello", response_format=FORMAT)
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == GOOD
    # Both calls were paid for.
    assert document["usage"]["completion_tokens"] == 40


@ensureDeferred
async def test_of_two_answers_the_last_counts(proxy: Start, upstream: Upstream) -> None:
    upstream.script(structured('{"city": "Oslo", "warm": false}', GOOD))
    document = await (await proxy().chat("hello", response_format=FORMAT)).json()
    assert document["choices"][0]["message"]["content"] == GOOD


@ensureDeferred
async def test_streamed_answer_that_was_wrong_is_an_error(
    proxy: Start, upstream: Upstream
) -> None:
    """What was told cannot be taken back."""
    upstream.replies(structured('{"city": "Oslo"}'), structured(GOOD))
    response = await proxy().chat("hello", response_format=FORMAT, stream=True)
    text = await response.text()
    assert "[DONE]" not in text
    [*_, last] = [line for line in text.splitlines() if line.startswith("data: ")]
    message = json.loads(last.removeprefix("data: "))["error"]["message"]
    assert "did not satisfy the schema ($ does not satisfy `required`)" in message


@pytest.mark.parametrize("reply", [PROSE, structured('{"city": 5}')])
@ensureDeferred
async def test_no_answer_by_the_schema_is_an_honest_failure(
    proxy: Start, upstream: Upstream, reply: Reply
) -> None:
    upstream.script(reply)
    response = await proxy().chat("hello", response_format=FORMAT)
    assert response.code == 502
    error = (await response.json())["error"]
    assert error["code"] == "schema_not_satisfied"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"enum": []}}},
        {"type": "object", "properties": {"a": {"$ref": "#/no"}}},
        {"type": "object", "properties": {"a": {"type": "strung"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/"}}},
    ],
)
@ensureDeferred
async def test_schema_that_cannot_be_used(
    proxy: Start, upstream: Upstream, schema: dict[str, Any]
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    response = await proxy().chat("hello", response_format=form)
    assert response.code == 400
    assert "schema" in (await response.json())["error"]["message"]


@ensureDeferred
async def test_any_object(proxy: Start, upstream: Upstream) -> None:
    upstream.script(structured('{"anything": [1]}'))
    form = {"type": "json_object"}
    document = await (await proxy().chat("hello", response_format=form)).json()
    assert document["choices"][0]["message"]["content"] == '{"anything": [1]}'


@ensureDeferred
async def test_tools_before_the_answer_by_a_schema(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(ONE, structured(GOOD))
    server = proxy()
    fields: dict[str, Any] = {"tools": TOOLS, "response_format": FORMAT}
    document = await (await server.chat("hello", **fields)).json()
    [choice] = document["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me look."
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"}
    history = [{"role": "user", "content": "hello"}, choice["message"], result]
    document = await (await server.chat(*history, **fields)).json()
    assert document["choices"][0]["message"]["content"] == GOOD
    ids = {json.loads(b["metadata"]["user_id"])["session_id"] for b in upstream.bodies}
    assert len(ids) == 1


@ensureDeferred
async def test_tool_that_is_named_like_the_clis(proxy: Start) -> None:
    tool = {"type": "function", "function": {"name": "StructuredOutput"}}
    response = await proxy().chat("hello", tools=[tool], response_format=FORMAT)
    assert response.code == 400
    assert (await response.json())["error"]["param"] == "tools"


@ensureDeferred
async def test_cut_answer_by_a_schema_is_cut(proxy: Start, upstream: Upstream) -> None:
    reply = structured('{"city": "Pa')
    upstream.script(Reply(blocks=reply.blocks, stop_reason="max_tokens"))
    document = await (await proxy().chat("hello", response_format=FORMAT)).json()
    [choice] = document["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == '{"city": "Pa'


class Weather(BaseModel):
    city: str
    warm: bool
    wind: Literal["weak", "strong"] | None = None


@ensureDeferred
async def test_parse_helpers_of_the_official_package(
    proxy: Start, upstream: Upstream
) -> None:
    """Chat, Responses, and both streamed."""
    upstream.script(structured('{"city": "Paris", "warm": true, "wind": null}'))
    server = proxy()

    def parse() -> list[Any]:
        messages: Any = [{"role": "user", "content": "hello"}]
        with client(server) as api:
            chat = api.chat.completions.parse(
                model="sonnet", messages=messages, response_format=Weather
            )
            response = api.responses.parse(
                model="sonnet", input="hello", text_format=Weather
            )
            with api.chat.completions.stream(
                model="sonnet", messages=messages, response_format=Weather
            ) as events:
                streamed = events.get_final_completion()
            with api.responses.stream(
                model="sonnet", input="hello", text_format=Weather
            ) as told:
                seen: list[ResponseStreamEvent[Any]] = list(told)
                last = told.get_final_response()
        assert seen
        return [
            chat.choices[0].message.parsed,
            response.output_parsed,
            streamed.choices[0].message.parsed,
            last.output_parsed,
        ]

    found = await deferToThread(parse)
    assert found == [Weather(city="Paris", warm=True)] * 4


test_parse_helpers_of_the_official_package = pytest.mark.threads(
    test_parse_helpers_of_the_official_package
)


# Calls that are demanded

CHOSEN = {"type": "function", "function": {"name": "get_weather"}}


def system_of(body: Mapping[str, Any]) -> str:
    return "\n".join(block["text"] for block in body["system"])


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_demanded_call(proxy: Start, upstream: Upstream, stream: bool) -> None:
    upstream.script(ONE)
    server = proxy()
    response = await server.chat(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        tools=TOOLS,
        tool_choice=CHOSEN,
        stream=stream,
    )
    if stream:
        last = chunks_of(await response.text())[-1]["choices"][0]
    else:
        last = (await response.json())["choices"][0]
        assert last["message"]["content"] == "Let me look."
    assert last["finish_reason"] == "tool_calls"
    [body] = upstream.bodies
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert "Be brief.\n\nYour next answer has to be a call" in system_of(body)
    assert "tool_choice" not in body
    assert native(body) == [("user", [{"type": "text", "text": "hello"}])]


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_prose_in_the_place_of_a_call_is_asked_again(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.replies(PROSE, TWO)
    response = await proxy().chat(
        "hello", tools=TOOLS, tool_choice="required", stream=stream
    )
    if stream:
        chunks = chunks_of(await response.text())
        assert text_of(chunks) == ""
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    else:
        document = await response.json()
        [choice] = document["choices"]
        assert choice["message"]["content"] is None
        assert len(choice["message"]["tool_calls"]) == 2
        assert document["usage"]["completion_tokens"] == 40
    first, second = upstream.bodies
    assert len(native(first)) == 1
    _, (_, said), (_, reminder) = native(second)
    assert said[0]["text"] == "It is warm in Paris."
    assert "`get_weather`, `Bash`. Make the call now." in reminder[0]["text"]


@ensureDeferred
async def test_prose_for_the_second_time_is_told_as_it_is(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(PROSE, answer("As I said."))
    response = await proxy().chat("hello", tools=TOOLS, tool_choice="required")
    [choice] = (await response.json())["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "It is warm in Paris."
    assert len(upstream.bodies) == 2


@ensureDeferred
async def test_natively_demanded_call_is_the_operators_choice(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.script(ONE)
    server = proxy(forward_tool_choice=True)
    for choice in (CHOSEN, "required"):
        response = await server.chat("hello", tools=TOOLS, tool_choice=choice)
        assert response.code == 200
        await response.json()
    named, required = upstream.bodies
    assert named["tool_choice"] == {"type": "tool", "name": "get_weather"}
    assert required["tool_choice"] == {"type": "any"}
    assert "Your next answer" not in system_of(named)


@ensureDeferred
async def test_one_call_at_a_time_is_native(proxy: Start, upstream: Upstream) -> None:
    upstream.script(ONE)
    response = await proxy().chat("hello", tools=TOOLS, parallel_tool_calls=False)
    assert "x-ccproxy-ignored" not in dict(response.headers.getAllRawHeaders())
    await response.json()
    [body] = upstream.bodies
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


@ensureDeferred
async def test_old_functions(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(calls(call("toolu_1", "Paris")), answer("Warm."))
    server = proxy()
    functions = [TOOLS[0]["function"], BASH]
    response = await server.chat("hello", functions=functions)
    [choice] = (await response.json())["choices"]
    assert choice["finish_reason"] == "function_call"
    result = {"role": "function", "name": "get_weather", "content": "warm"}
    history = [{"role": "user", "content": "hello"}, choice["message"], result]
    document = await (await server.chat(*history, functions=functions)).json()
    assert document["choices"][0]["message"]["content"] == "Warm."
    ids = {json.loads(b["metadata"]["user_id"])["session_id"] for b in upstream.bodies}
    assert len(ids) == 1
    assert [role for role, _ in native(upstream.bodies[-1])] == [
        "user",
        "assistant",
        "user",
    ]
