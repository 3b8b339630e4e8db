"""Answers by a schema, and required calls, on the real CLI."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pytest
from openai.lib.streaming.responses import ResponseStreamEvent
from pydantic import BaseModel
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.chunks import chunks_of, text_of
from tests.support.openai_client import client
from tests.support.server import RunningProxy, Upstream, answer, events, system
from tests.support.spec import document_errors, response_errors
from tests.support.tool_calls import BASH, ONE, TOOLS, TWO, call, calls, native

Start = Callable[..., RunningProxy]

# The provider itself holds a model to this one.
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "warm": {"$ref": "#/$defs/warm"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
    "$defs": {"warm": {"type": "boolean"}},
}
# It cannot to this one, because other properties are allowed: a tool of ours it is.
OPEN: dict[str, Any] = {
    **{k: v for k, v in CLOSED.items() if k != "additionalProperties"},
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"warm": {"type": "boolean", "x-own": "a"}},
}
SCHEMAS = pytest.mark.parametrize("schema", [CLOSED, OPEN], ids=["native", "tool"])
GOOD = '{"city": "Paris", "warm": true}'
OURS = "structured_output"


def form(schema: Mapping[str, Any]) -> dict[str, Any]:
    about = {"name": "weather", "schema": schema}
    return {"type": "json_schema", "json_schema": about}


FORMAT = form(CLOSED)
PROSE = "It is warm in Paris."


def reply(body: Mapping[str, Any], text: str, **options: Any) -> Reply:
    """What the model says to give its answer, in the way that it was told to."""
    pieces = (text[:9], text[9:])
    ours = [t["name"] for t in body["tools"] if t["name"].startswith(OURS)]
    if not ours or text == PROSE:
        return Reply(blocks=(ScriptedBlock(pieces),), **options)
    called = ScriptedBlock(pieces, tool_use=("toolu_s", ours[-1]))
    return Reply(
        blocks=(words("Here it is:"), called), **{"stop_reason": "tool_use", **options}
    )


def answers(upstream: Upstream, *texts: str, **options: Any) -> None:
    """Let the model give these answers, one after the other."""
    left = list(texts)

    def script(body: Mapping[str, Any]) -> Reply:
        return reply(body, left.pop(0) if len(left) > 1 else left[0], **options)

    upstream.script(script)


@SCHEMAS
@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_answer_by_a_schema(
    proxy: Start, upstream: Upstream, stream: bool, schema: dict[str, Any]
) -> None:
    answers(upstream, GOOD)
    response = await proxy().chat(
        "hello", response_format=form(schema), tools=TOOLS, stream=stream
    )
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
    named = ["response_format.json_schema.name"]
    assert response.headers.getRawHeaders("x-ccproxy-ignored") == named
    names = [tool["name"] for tool in body["tools"]]
    if schema is CLOSED:
        sent = {"type": "json_schema", "schema": schema}
        assert body["output_config"]["format"] == sent
        assert names == ["get_weather", "Bash"]
    else:
        assert "format" not in body["output_config"]
        assert names == ["get_weather", "Bash", OURS]
        assert body["tools"][-1]["input_schema"] == schema


@SCHEMAS
@ensureDeferred
async def test_answer_by_a_schema_in_responses(
    proxy: Start, upstream: Upstream, schema: dict[str, Any]
) -> None:
    answers(upstream, GOOD)
    about = {"type": "json_schema", "name": "weather", "schema": schema}
    body = {"input": "hello", "text": {"format": about}}
    document = await (await proxy().post("/v1/responses", body)).json()
    assert response_errors(document) == []
    assert document["status"] == "completed"
    assert document["output"][0]["content"][0]["text"] == GOOD
    assert document["text"]["format"]["schema"] == schema


LIST: dict[str, Any] = {"type": "array", "items": {}, "maxItems": 2}


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_answer_that_is_no_object_comes_without_one(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    """In each API; the first answer is too long, and not streamed it is replaced."""
    server = proxy()
    about = {"type": "json_schema", "name": "a", "schema": LIST}
    said = [{"role": "user", "content": "hello"}]
    config = {"format": {"type": "json_schema", "schema": LIST}}
    bodies: dict[str, dict[str, Any]] = {
        "chat/completions": {"messages": said, "response_format": form(LIST)},
        "responses": {"input": "hello", "text": {"format": about}},
        "messages": {"messages": said, "max_tokens": 9, "output_config": config},
    }
    for path, body in bodies.items():
        wrong = [] if stream else ['{"value": [1, 2, 3]}']
        answers(upstream, *wrong, '{"value": [1, {"a": "}"}] }')
        response = await server.post(f"/v1/{path}", {**body, "stream": stream})
        told = await response.text()
        assert response.code == 200, told
        text = [*strings(events(told) if stream else [told])]
        assert "".join(text).endswith('[1, {"a": "}"}]'), told
        assert "value" not in "".join(text)
        tool = upstream.bodies[-1]["tools"][0]
        assert tool["input_schema"]["properties"] == {"value": LIST}


def strings(documents: Sequence[str]) -> Iterator[str]:
    """The texts of an answer in any API, or the pieces of its stream."""
    for each in documents:
        if each == "[DONE]":
            continue
        document = json.loads(each)
        match document:
            case {"choices": [{"message": {"content": text}}]}:
                yield text
            case {"choices": [{"delta": {"content": str(text)}}]}:
                yield text
            case {"type": "response.output_text.delta", "delta": text}:
                yield text
            case {"output": [*_, {"content": [{"text": text}]}]}:
                yield text
            case {"delta": {"text": text}}:
                yield text
            case {"type": "message", "content": [*_, {"text": text}]}:
                yield text


@SCHEMAS
@pytest.mark.parametrize("first", [PROSE, '{"city": "Paris"}', '{"city": "Pa'])
@ensureDeferred
async def test_second_try_is_the_answer(
    proxy: Start, upstream: Upstream, first: str, schema: dict[str, Any]
) -> None:
    """What was wrong is not in the document."""
    answers(upstream, first, GOOD)
    response = await proxy().chat("hello", response_format=form(schema))
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == GOOD
    # Both questions were paid for.
    assert document["usage"]["completion_tokens"] == 40
    once, again = upstream.bodies
    assert native(again)[: len(native(once))] == native(once)
    assert again["tools"] == once["tools"]


@ensureDeferred
async def test_of_two_answers_the_last_counts(proxy: Start, upstream: Upstream) -> None:
    given = ('{"city": "Oslo", "warm": false}', GOOD)
    made = [ScriptedBlock((t,), tool_use=(f"t{n}", OURS)) for n, t in enumerate(given)]
    upstream.script(calls(*made))
    response = await proxy().chat("hello", response_format=form(OPEN))
    assert (await response.json())["choices"][0]["message"]["content"] == GOOD


@SCHEMAS
@ensureDeferred
async def test_streamed_answer_that_was_wrong_is_an_error(
    proxy: Start, upstream: Upstream, schema: dict[str, Any]
) -> None:
    """What was told cannot be taken back."""
    answers(upstream, '{"city": "Oslo"}', GOOD)
    response = await proxy().chat("hello", response_format=form(schema), stream=True)
    text = await response.text()
    assert "[DONE]" not in text
    [*_, last] = [line for line in text.splitlines() if line.startswith("data: ")]
    message = json.loads(last.removeprefix("data: "))["error"]["message"]
    assert "did not satisfy the schema (" in message
    assert "warm" in message


@SCHEMAS
@pytest.mark.parametrize("text", [PROSE, '{"city": 5}'])
@ensureDeferred
async def test_no_answer_by_the_schema_is_an_honest_failure(
    proxy: Start, upstream: Upstream, text: str, schema: dict[str, Any]
) -> None:
    answers(upstream, text)
    response = await proxy().chat("hello", response_format=form(schema))
    assert response.code == 502
    error = (await response.json())["error"]
    assert error["code"] == "schema_not_satisfied"
    assert len(upstream.bodies) == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/no"}}},
        {"type": "object", "properties": {"a": {"type": "strung"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/"}}},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
    ],
)
@ensureDeferred
async def test_schema_that_cannot_be_used(
    proxy: Start, upstream: Upstream, schema: dict[str, Any]
) -> None:
    response = await proxy().chat("hello", response_format=form(schema))
    assert response.code == 400
    error = (await response.json())["error"]
    assert error["param"].startswith("response_format.json_schema.schema")
    assert upstream.bodies == []


@ensureDeferred
async def test_any_object(proxy: Start, upstream: Upstream) -> None:
    answers(upstream, '{"anything": [1]}')
    about = {"type": "json_object"}
    document = await (await proxy().chat("hello", response_format=about)).json()
    assert document["choices"][0]["message"]["content"] == '{"anything": [1]}'
    assert upstream.bodies[0]["tools"][0]["input_schema"] == {"type": "object"}


@SCHEMAS
@ensureDeferred
async def test_tools_before_the_answer_by_a_schema(
    proxy: Start, upstream: Upstream, schema: dict[str, Any]
) -> None:
    upstream.script(ONE)
    server = proxy()
    fields: dict[str, Any] = {"tools": TOOLS, "response_format": form(schema)}
    document = await (await server.chat("hello", **fields)).json()
    [choice] = document["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me look."
    answers(upstream, GOOD)
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"}
    history = [{"role": "user", "content": "hello"}, choice["message"], result]
    document = await (await server.chat(*history, **fields)).json()
    assert document["choices"][0]["message"]["content"] == GOOD
    first, second = upstream.bodies
    assert second["tools"] == first["tools"]


@ensureDeferred
async def test_tool_that_is_named_like_ours(proxy: Start, upstream: Upstream) -> None:
    answers(upstream, GOOD)
    tool = {"type": "function", "function": {"name": OURS}}
    response = await proxy().chat("hello", tools=[tool], response_format=form(OPEN))
    [choice] = (await response.json())["choices"]
    assert choice["message"]["content"] == GOOD
    assert [t["name"] for t in upstream.bodies[0]["tools"]] == [OURS, f"{OURS}_2"]


@SCHEMAS
@ensureDeferred
async def test_cut_answer_by_a_schema_is_cut(
    proxy: Start, upstream: Upstream, schema: dict[str, Any]
) -> None:
    answers(upstream, '{"city": "Pa', stop_reason="max_tokens")
    response = await proxy().chat("hello", response_format=form(schema))
    [choice] = (await response.json())["choices"]
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
    answers(upstream, '{"city": "Paris", "warm": true, "wind": null}')
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
    # The model wrote "Let me look." before the call.
    if stream:
        chunks = chunks_of(await response.text())
        last = chunks[-1]["choices"][0]
        assert text_of(chunks) == ""
    else:
        last = (await response.json())["choices"][0]
        assert last["message"]["content"] is None
    assert last["finish_reason"] == "tool_calls"
    [body] = upstream.bodies
    # What the cache depends on stays as it is.
    assert [tool["name"] for tool in body["tools"]] == ["get_weather", "Bash"]
    assert system(body) == ["Be brief."]
    assert body["tool_choice"] == {"type": "auto"}
    [hello, demand] = body["messages"]
    assert hello["role"] == "user"
    words_to_the_model = "Your next answer has to be a call of the tool `get_weather`."
    assert demand["role"] == "system"
    assert words_to_the_model in json.dumps(demand["content"])


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_prose_in_the_place_of_a_call_is_asked_again(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.replies(answer(PROSE), TWO)
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
    upstream.replies(answer(PROSE), answer("As I said."))
    response = await proxy().chat("hello", tools=TOOLS, tool_choice="required")
    [choice] = (await response.json())["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "It is warm in Paris."
    assert len(upstream.bodies) == 2


@ensureDeferred
async def test_natively_demanded_call_is_the_operators_choice(
    proxy: Start, upstream: Upstream
) -> None:
    """Whatever is known of the model: the operator may know better."""
    upstream.script(ONE)
    upstream.api.strict = False
    server = proxy(forward_tool_choice=True)
    for choice in (CHOSEN, "required"):
        response = await server.chat("hello", tools=TOOLS, tool_choice=choice)
        assert response.code == 200
        await response.json()
    named, required = upstream.bodies
    assert named["tool_choice"] == {"type": "tool", "name": "get_weather"}
    assert required["tool_choice"] == {"type": "any"}
    assert "Your next answer" not in json.dumps(named["messages"])


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
    assert [role for role, _ in native(upstream.bodies[-1])] == [
        "user",
        "assistant",
        "user",
    ]
