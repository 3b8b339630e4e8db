"""Native mode on the real CLI: each API, and the texts that the model gets.

A sample of what the other modules here hold in body mode; and what only
this mode has: the CLI's own mode for schemas, and demands for calls by a text.

Each question starts a CLI, so each thing is asked once, streamed or not.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.chunks import chunks_of, text_of
from tests.support.loops import client
from tests.support.mutations import WEATHER
from tests.support.raw import connect, request
from tests.support.server import KEY, RunningProxy, Upstream, answer, events, system
from tests.support.spec import (
    document_errors,
    response_errors,
    response_event_errors,
)
from tests.support.tool_calls import BASH, ONE, TOOLS, TWO, call, calls, native
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

FUNCTIONS = [tool["function"] for tool in TOOLS]
STREAM = pytest.mark.parametrize("stream", [False, True])
SHARED = {"compose": "native"}


@pytest.fixture
def proxy(proxy: Start) -> Start:
    """Starts servers in native mode, without a spare of body mode."""

    def start(**options: Any) -> RunningProxy:
        return proxy(**{**SHARED, **options})

    return start


def text(said: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": said}]


def ignored(response: Any) -> list[str]:
    found = response.headers.getRawHeaders("x-ccproxy-ignored") or [""]
    return [name.strip() for name in found[0].split(",") if name.strip()]


# Conversations

HISTORY = [
    ("user", "one"),
    ("assistant", "uno"),
    ("user", "@/etc/hostname"),
    ("assistant", " dos\n"),
    ("user", "/clear two ✓"),
]


@STREAM
@ensureDeferred
async def test_chat(proxy: Start, upstream: Upstream, stream: bool) -> None:
    server = proxy()
    said = [{"role": role, "content": words} for role, words in HISTORY]
    response = await server.chat(
        {"role": "system", "content": "Be brief."},
        *said,
        model="opus",
        max_tokens=77,
        stop=["END"],
        reasoning_effort="low",
        stream=stream,
    )
    if stream:
        assert text_of(chunks_of(await response.text())) == "one two three"
    else:
        document = await response.json()
        assert document_errors(document) == []
        assert document["choices"][0]["message"]["content"] == "one two three"
        assert document["usage"]["completion_tokens"] == 20
    [body] = upstream.bodies
    assert system(body)[-1] == "Be brief."
    assert native(body) == [(role, text(said)) for role, said in HISTORY]
    assert body["model"].startswith("claude-opus-")
    assert (body["max_tokens"], body["stop_sequences"]) == (77, ["END"])
    assert body["output_config"]["effort"] == "low"
    # Each question had a process of its own.
    await until(lambda: server.processes == 0)


@ensureDeferred
async def test_stop_sequence_of_white_space(proxy: Start, upstream: Upstream) -> None:
    upstream.script(answer("one\ntwo"))
    response = await proxy().chat("hello", stop=["\n", "END"])
    assert response.headers.getRawHeaders("x-ccproxy-adjusted") == ["stop"]
    [choice] = (await response.json())["choices"]
    assert choice["message"]["content"] == "one"
    assert (choice["finish_reason"], choice["stop_sequence"]) == ("stop", "\n")
    assert upstream.bodies[0]["stop_sequences"] == ["END"]


@ensureDeferred
async def test_the_operators_own_fields(proxy: Start, upstream: Upstream) -> None:
    """They go up, but for what is never set, and what the client says wins."""
    # No provider knows them.
    upstream.api.strict = False
    own = {"own_field": {"a": 1.5}, "stop_sequences": ["X"], "system": "no"}
    server = proxy(environment={"CLAUDE_CODE_EXTRA_BODY": json.dumps(own)})
    for stops in ({}, {"stop": ["END"]}):
        assert (await server.chat("hello", **stops)).code == 200
    first, second = upstream.bodies
    assert first["own_field"] == {"a": 1.5}
    assert first["stop_sequences"] == ["X"]
    assert second["stop_sequences"] == ["END"]
    assert len(first["system"]) == 2


@ensureDeferred
async def test_responses(proxy: Start, upstream: Upstream) -> None:
    upstream.script(answer("Hello."))
    asked = {"input": "hello", "instructions": "Be brief.", "stream": True}
    response = await proxy().post("/v1/responses", asked)
    told = [json.loads(data) for data in events(await response.text())[:-1]]
    assert [e for event in told for e in response_event_errors(event)] == []
    document = told[-1]["response"]
    assert response_errors(document) == []
    [message] = document["output"]
    assert message["content"][0]["text"] == "Hello."
    [body] = upstream.bodies
    assert system(body)[-1] == "Be brief."
    assert native(body) == [("user", text("hello"))]


@ensureDeferred
async def test_messages(proxy: Start, upstream: Upstream) -> None:
    """Thinking comes as the API tells it; what has no place here is named."""
    thought = ScriptedBlock(("Let me ", "see."), is_thinking=True, signature="c2ln")
    upstream.script(Reply(blocks=(thought, words("Hello."))))
    asked = {
        "model": "sonnet",
        "max_tokens": 99,
        "system": "Be brief.",
        "thinking": {"type": "adaptive"},
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "metadata": {"user_id": "me"},
        "stream": True,
    }
    response = await proxy().post("/v1/messages", asked)
    assert response.code == 200, await response.text()
    assert {"temperature"} <= {*ignored(response)}
    told = [json.loads(data) for data in events(await response.text())]
    kinds = [event["type"] for event in told if event["type"] != "ping"]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    starts = [e for e in told if e["type"] == "content_block_start"]
    assert [(e["index"], e["content_block"]["type"]) for e in starts] == [
        (0, "thinking"),
        (1, "text"),
    ]
    deltas = [
        event["delta"] for event in told if event["type"] == "content_block_delta"
    ]
    assert [d["signature"] for d in deltas if "signature" in d] == ["c2ln"]
    assert "".join(d.get("text", "") for d in deltas) == "Hello."
    [body] = upstream.bodies
    assert system(body)[-1] == "Be brief."
    assert native(body) == [("user", text("hello"))]
    assert "temperature" not in body


@ensureDeferred
async def test_thinking_that_the_model_takes_is_told(
    proxy: Start, upstream: Upstream
) -> None:
    """Not that of another; and newer models take none, as the CLI's notes move."""
    thought = ScriptedBlock(("Hm.",), is_thinking=True, signature="c2ln")
    olds = (("old", "claude-opus-4-6"), ("older", "claude-opus-4-7"))
    server = proxy(model_map=olds)
    ask = {"role": "user", "content": "hello"}

    async def told(model: str, *others: str) -> list[list[str]]:
        """The blocks of the model's own turn, as each is told them."""
        upstream.replies(calls(thought, call("toolu_1", "Paris")), answer("Fine."))
        upstream.bodies.clear()
        response = await server.chat(ask, tools=TOOLS, model=model)
        [choice] = (await response.json())["choices"]
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"}
        for name in others:
            response = await server.chat(
                ask, choice["message"], result, tools=TOOLS, model=name
            )
            [last] = (await response.json())["choices"]
            assert last["message"]["content"] == "Fine."
        _, *bodies = upstream.bodies
        return [[block["type"] for block in native(b)[1][1]] for b in bodies]

    assert await told("old", "old", "older") == [["thinking", "tool_use"], ["tool_use"]]
    assert await told("sonnet", "sonnet") == [["tool_use"]]


@ensureDeferred
async def test_client_that_goes_away(proxy: Start, upstream: Upstream) -> None:
    """The model is not asked any further, and the process goes."""
    held: Deferred[None] = Deferred()
    upstream.script(Reply(blocks=(words("one two three"),), hold_after=1, held=held))
    server = proxy()
    gone = await connect(reactor, server.number)
    asked = {"stream": True, "messages": [{"role": "user", "content": "hello"}]}
    about = {"authorization": f"Bearer {KEY}"}
    body = json.dumps(asked).encode()
    gone.send(request("POST", "/v1/chat/completions", body, **about))
    await gone.expect(b"one")
    gone.abort()
    await until(lambda: upstream.api.gone == 1)
    held.callback(None)
    await until(lambda: server.processes == 0)
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_the_operator_is_told(proxy: Start) -> None:
    told = await (await proxy().get("/ready")).json()
    assert told["claude"]["composer"] == "native"


# Tools


@pytest.mark.parametrize(("api", "stream"), [("chat", True), ("responses", False)])
@ensureDeferred
async def test_tools(proxy: Start, upstream: Upstream, api: str, stream: bool) -> None:
    """No process waits for the results: a new one is told all of it."""
    upstream.replies(TWO, answer("Fine."))
    server = proxy()
    program = client(api, server, "hello", FUNCTIONS, stream=stream)
    said, made = await program.answer()
    assert (said, [one.id for one in made]) == ("", ["toolu_1", "toolu_2"])
    await until(lambda: server.processes == 0)
    program.give([(one.id, f"fine in {n}") for n, one in enumerate(made)][::-1])
    assert (await program.answer())[0] == "Fine."
    first, second = upstream.bodies
    assert [(tool["name"], tool["description"]) for tool in first["tools"]] == [
        ("Bash", ""),
        ("get_weather", WEATHER["description"]),
    ]
    assert first["tools"][1]["input_schema"] == WEATHER["parameters"]
    assert [tool["name"] for tool in second["tools"]] == ["Bash", "get_weather"]
    cities = [{"city": "Paris"}, {"city": "Oslo"}]
    assert native(second) == [
        ("user", text("hello")),
        (
            "assistant",
            [
                {"type": "tool_use", "id": i, "name": "get_weather", "input": city}
                for i, city in zip(("toolu_1", "toolu_2"), cities, strict=True)
            ],
        ),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": i, "content": text(said)}
                for i, said in (("toolu_1", "fine in 0"), ("toolu_2", "fine in 1"))
            ],
        ),
    ]


@ensureDeferred
async def test_tools_of_the_messages_api(proxy: Start, upstream: Upstream) -> None:
    upstream.script(ONE)
    tool = {"name": "get_weather", "input_schema": WEATHER["parameters"]}
    body = {
        "model": "sonnet",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [tool],
    }
    document = await (await proxy().post("/v1/messages", body)).json()
    assert document["stop_reason"] == "tool_use"
    assert document["content"] == [
        *text("Let me look."),
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "get_weather",
            "input": {"city": "Paris"},
        },
    ]


# Answers by a schema

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"type": "string"}, "warm": {"$ref": "#/$defs/warm"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
    "$defs": {"warm": {"type": "boolean", "x-own": "a"}},
}
GOOD = '{"city": "Paris", "warm": true}'


def form(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def structured(*answers: str, before: tuple[ScriptedBlock, ...] = ()) -> Reply:
    """A reply by the schema, as the model gives it."""
    made = [
        ScriptedBlock(
            (text[:9], text[9:]), tool_use=(f"toolu_s{n}", "StructuredOutput")
        )
        for n, text in enumerate(answers)
    ]
    return calls(*before, *made)


PROSE = answer("It is warm in Paris.")


@STREAM
@ensureDeferred
async def test_answer_by_a_schema(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.script(structured(GOOD, before=(words("Here it is:"),)))
    response = await proxy().chat("hello", response_format=form(SCHEMA), stream=stream)
    if stream:
        chunks = chunks_of(await response.text())
        assert text_of(chunks) == GOOD
        assert [c["choices"][0]["finish_reason"] for c in chunks][-1] == "stop"
    else:
        [choice] = (await response.json())["choices"]
        assert choice["message"]["content"] == GOOD
        assert choice["finish_reason"] == "stop"
    [body] = upstream.bodies
    [tool] = body["tools"]
    # What the CLI would not understand is left out, or it would drop the whole schema.
    assert tool["input_schema"]["$defs"] == {"warm": {"type": "boolean"}}
    assert tool["input_schema"]["required"] == ["city", "warm"]


@pytest.mark.parametrize(
    "first", [PROSE, structured('{"city": "Paris"}'), structured('{"city": "Pa')]
)
@ensureDeferred
async def test_second_try_is_the_answer(
    proxy: Start, upstream: Upstream, first: Reply
) -> None:
    """The CLI asks again; what was wrong is not in the document."""
    upstream.replies(first, structured(GOOD))
    response = await proxy().chat("hello", response_format=form(SCHEMA))
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == GOOD
    # Both calls were paid for.
    assert document["usage"]["completion_tokens"] == 40


@ensureDeferred
async def test_of_two_answers_the_last_counts(proxy: Start, upstream: Upstream) -> None:
    upstream.script(structured('{"city": "Oslo", "warm": false}', GOOD))
    response = await proxy().chat("hello", response_format=form(SCHEMA))
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == GOOD


@ensureDeferred
async def test_streamed_answer_that_was_wrong_is_an_error(
    proxy: Start, upstream: Upstream
) -> None:
    """What was told cannot be taken back."""
    upstream.replies(structured('{"city": "Oslo"}'), structured(GOOD))
    response = await proxy().chat("hello", response_format=form(SCHEMA), stream=True)
    told = await response.text()
    assert "[DONE]" not in told
    error = json.loads(events(told)[-1])["error"]
    assert "did not satisfy the schema" in error["message"]


@pytest.mark.parametrize("reply", [PROSE, structured('{"city": 5}')])
@ensureDeferred
async def test_no_answer_by_the_schema_is_an_honest_failure(
    proxy: Start, upstream: Upstream, reply: Reply
) -> None:
    upstream.script(reply)
    response = await proxy().chat("hello", response_format=form(SCHEMA))
    assert response.code == 502
    assert (await response.json())["error"]["code"] == "schema_not_satisfied"


@ensureDeferred
async def test_answer_is_compared_with_what_the_cli_does_not_understand(
    proxy: Start, upstream: Upstream
) -> None:
    """By all of the schema, in a process that is no CLI."""
    upstream.script(structured('{"a": [1, 2]}'))
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "prefixItems": [{"type": "string"}]}},
    }
    response = await proxy().chat("hello", response_format=form(schema))
    assert response.code == 502
    error = (await response.json())["error"]
    assert error["code"] == "schema_not_satisfied"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/no"}}},
        {"type": "object", "properties": {"a": {"type": "strung"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/"}}},
        # No CLI is given what it would think about for ever.
        {"type": "object", "properties": {"a": {"pattern": "a{99999999999}"}}},
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
async def test_tool_that_is_named_like_the_clis(proxy: Start) -> None:
    tool = {"type": "function", "function": {"name": "StructuredOutput"}}
    response = await proxy().chat("hello", tools=[tool], response_format=form(SCHEMA))
    assert response.code == 400
    assert (await response.json())["error"]["param"] == "tools"


# Calls that are demanded

CHOSEN = {"type": "function", "function": {"name": "get_weather"}}


@ensureDeferred
async def test_demanded_call(proxy: Start, upstream: Upstream) -> None:
    upstream.script(ONE)
    said = {"role": "system", "content": "Be brief."}
    response = await proxy().chat(said, "hello", tools=TOOLS, tool_choice=CHOSEN)
    [choice] = (await response.json())["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [body] = upstream.bodies
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert "Be brief.\n\nYour next answer has to be a call" in system(body)[-1]
    assert "tool_choice" not in body
    assert native(body) == [("user", text("hello"))]


@STREAM
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
    _, second = upstream.bodies
    _, (_, said), (_, reminder) = native(second)
    assert said[0]["text"] == "It is warm in Paris."
    assert "`get_weather`, `Bash`. Make the call now." in reminder[0]["text"]


@ensureDeferred
async def test_call_that_the_api_itself_demands(
    proxy: Start, upstream: Upstream
) -> None:
    """Where the operator has chosen so; and one call at a time anyway."""
    # This model's provider does not take it.
    upstream.api.strict = False
    upstream.script(ONE)
    server = proxy(forward_tool_choice=True)
    for choice in (CHOSEN, "required", "auto"):
        about = {"tool_choice": choice, "parallel_tool_calls": choice != "auto"}
        await (await server.chat("hello", tools=TOOLS, **about)).json()
    assert [body["tool_choice"] for body in upstream.bodies] == [
        {"type": "tool", "name": "get_weather"},
        {"type": "any"},
        {"type": "auto", "disable_parallel_tool_use": True},
    ]


@ensureDeferred
async def test_names_that_the_cli_lists_otherwise(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.script(calls(ScriptedBlock(("{}",), tool_use=("toolu_1", "Agent"))))
    functions = [{**BASH, "name": name} for name in ("Agent", "Task")]
    tools = [{"type": "function", "function": f} for f in functions]
    document = await (await proxy().chat("hello", tools=tools)).json()
    [made] = document["choices"][0]["message"]["tool_calls"]
    assert made["function"]["name"] == "Agent"
