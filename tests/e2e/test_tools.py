"""Function calling on the real CLI: native tools, native calls, native results."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.chunks import chunks_of, text_of
from tests.support.mutations import WEATHER
from tests.support.openai_client import client
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.spec import chunk_errors, document_errors
from tests.support.tool_calls import BASH, ONE, TOOLS, TWO, call, calls, native

Start = Callable[..., RunningProxy]


@ensureDeferred
async def test_tools_reach_the_model_word_for_word(
    proxy: Start, upstream: Upstream
) -> None:
    response = await proxy().chat("hello", tools=TOOLS)
    assert response.code == 200
    assert await response.json()
    [body] = upstream.bodies
    assert body["tools"] == [
        {
            "name": "get_weather",
            "description": WEATHER["description"],
            "input_schema": WEATHER["parameters"],
            "strict": True,
        },
        {"name": "Bash", "input_schema": BASH["parameters"]},
    ]
    assert "tool_choice" not in body
    # A client's tool of that name brings no notes of Claude Code's own.
    assert native(body) == [("user", [{"type": "text", "text": "hello"}])]


@pytest.mark.parametrize("names", [("Agent",), ("Task",), ("Agent", "Task")])
@ensureDeferred
async def test_names_that_the_cli_lists_otherwise(
    proxy: Start, upstream: Upstream, names: tuple[str, ...]
) -> None:
    functions = [{**BASH, "name": name} for name in names]
    tools = [{"type": "function", "function": f} for f in functions]
    upstream.script(calls(ScriptedBlock(("{}",), tool_use=("toolu_1", names[0]))))
    document = await (await proxy().chat("hello", tools=tools)).json()
    [made] = document["choices"][0]["message"]["tool_calls"]
    assert made["function"]["name"] == names[0]
    [body] = upstream.bodies
    assert [tool["name"] for tool in body["tools"]] == [*names]


@ensureDeferred
async def test_call_in_a_document(proxy: Start, upstream: Upstream) -> None:
    upstream.script(ONE)
    server = proxy()
    response = await server.chat("hello", tools=TOOLS)
    document = await response.json()
    assert document_errors(document) == []
    [choice] = document["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me look."
    assert choice["message"]["tool_calls"] == [
        {
            "id": "toolu_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
        }
    ]
    await server.idle()
    # The model was not told that nobody answered.
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_parallel_calls_in_a_stream(proxy: Start, upstream: Upstream) -> None:
    upstream.script(TWO)
    server = proxy()
    response = await server.chat("hello", tools=TOOLS, stream=True)
    chunks = chunks_of(await response.text())
    assert [error for chunk in chunks for error in chunk_errors(chunk)] == []
    deltas = [
        part
        for chunk in chunks
        for part in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    firsts = [part for part in deltas if "id" in part]
    assert [(f["index"], f["id"], f["function"]["name"]) for f in firsts] == [
        (0, "toolu_1", "get_weather"),
        (1, "toolu_2", "get_weather"),
    ]
    for index, city in enumerate(("Paris", "Oslo")):
        parts = [d["function"]["arguments"] for d in deltas if d["index"] == index]
        assert json.loads("".join(parts)) == {"city": city}
        assert len(parts) == 4
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    await server.idle()
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_call_without_arguments(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.script(calls(ScriptedBlock((), tool_use=("toolu_1", "Bash"))))
    response = await proxy().chat("hello", tools=TOOLS, stream=stream)
    if stream:
        parts = [
            part["function"]["arguments"]
            for chunk in chunks_of(await response.text())
            for part in chunk["choices"][0]["delta"].get("tool_calls", [])
        ]
        assert "".join(parts) == "{}"
    else:
        message = (await response.json())["choices"][0]["message"]
        assert message["content"] is None
        assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def asked(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A message of the assistant's with calls."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": identifier,
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "arguments": json.dumps({"city": city}),
                },
            }
            for identifier, city in pairs
        ],
    }


def result(identifier: str, content: object) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def texts(text: str) -> list[Any]:
    return [{"type": "text", "text": text}]


@ensureDeferred
async def test_results_are_native_turns(proxy: Start, upstream: Upstream) -> None:
    """In any order, under any ids, with text beside them, and empty ones."""
    response = await proxy().chat(
        "hello",
        asked(("call1", "Paris"), ("call2", "Oslo")),
        result("call2", "snow"),
        result("call1", [{"type": "text", "text": "sun"}]),
        {"role": "assistant", "content": "Sun and snow."},
        "and now?",
        asked(("call3", "Paris")),
        result("call3", ""),
        "thanks",
        tools=TOOLS,
    )
    assert (await response.json())["choices"][0]["message"]["content"]
    use = {"type": "tool_use", "name": "get_weather"}
    given = {"type": "tool_result"}
    assert native(upstream.bodies[0]) == [
        ("user", [{"type": "text", "text": "hello"}]),
        (
            "assistant",
            [
                {**use, "id": "call1", "input": {"city": "Paris"}},
                {**use, "id": "call2", "input": {"city": "Oslo"}},
            ],
        ),
        (
            "user",
            [
                {**given, "tool_use_id": "call2", "content": "snow"},
                {**given, "tool_use_id": "call1", "content": texts("sun")},
            ],
        ),
        ("assistant", [{"type": "text", "text": "Sun and snow."}]),
        ("user", [{"type": "text", "text": "and now?"}]),
        ("assistant", [{**use, "id": "call3", "input": {"city": "Paris"}}]),
        (
            "user",
            [
                {**given, "tool_use_id": "call3", "content": ""},
                {"type": "text", "text": "thanks"},
            ],
        ),
    ]


@ensureDeferred
async def test_history_with_calls_needs_no_tools(
    proxy: Start, upstream: Upstream
) -> None:
    """The provider does: one tool is offered for all calls, and not to be used."""
    response = await proxy().chat(
        "hello", asked(("call1", "Paris")), result("call1", "sun"), tool_choice="none"
    )
    assert (await response.json())["choices"][0]["finish_reason"] == "stop"
    [body] = upstream.bodies
    [tool] = body["tools"]
    assert tool["name"] == "earlier_tool"
    assert body["tool_choice"] == {"type": "none"}


@ensureDeferred
async def test_two_hundred_tools(proxy: Start, upstream: Upstream) -> None:
    about = {"type": "string", "description": "x" * 500}
    schema = {"type": "object", "properties": {"city": about}}
    tools = [
        {"type": "function", "function": {"name": f"tool_{n}", "parameters": schema}}
        for n in range(200)
    ]
    assert len(json.dumps(schema)) * 200 > 100_000
    upstream.script(calls(ScriptedBlock(("{}",), tool_use=("toolu_1", "tool_137"))))
    response = await proxy().chat("hello", tools=tools)
    message = (await response.json())["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "tool_137"
    offered = upstream.bodies[0]["tools"]
    assert len(offered) == 200
    assert all(tool["input_schema"] == schema for tool in offered)


@ensureDeferred
async def test_schema_that_the_provider_refuses_is_named_by_the_clients_path(
    proxy: Start, upstream: Upstream
) -> None:
    schema = {"type": "object", "required": ["city", "city"]}
    tools = [
        *TOOLS,
        {"type": "function", "function": {"name": "a", "parameters": schema}},
    ]
    response = await proxy().chat("hello", tools=tools)
    error = (await response.json())["error"]
    param = "tools[2].function.parameters"
    assert (response.code, error["param"]) == (400, param)
    assert error["message"].startswith(param)


@ensureDeferred
async def test_loop_with_the_official_package(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(ONE, TWO, answer("Both are fine."))
    server = proxy()

    def loop() -> list[Any]:
        messages: list[Any] = [{"role": "user", "content": "How is the weather?"}]
        with client(server) as api:
            while True:
                with api.chat.completions.stream(
                    model="sonnet",
                    messages=messages,
                    tools=TOOLS,
                ) as events:
                    for _ in events:
                        pass
                    [choice] = events.get_final_completion().choices
                messages.append(choice.message.model_dump(exclude_none=True))
                if choice.finish_reason != "tool_calls":
                    return messages
                for tool_call in choice.message.tool_calls or ():
                    city = json.loads(tool_call.function.arguments)["city"]
                    messages.append(result(tool_call.id, f"fine in {city}"))

    messages = await deferToThread(loop)
    assert messages[-1]["content"] == "Both are fine."
    assert len(upstream.bodies) == 3
    roles = [role for role, _ in native(upstream.bodies[-1])]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    # The script gives an id twice, as some clients do, and the provider refuses that.
    _, results = native(upstream.bodies[-1])[-1]
    assert [block["content"] for block in results] == ["fine in Paris", "fine in Oslo"]


test_loop_with_the_official_package = pytest.mark.threads(
    test_loop_with_the_official_package
)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_runner_of_the_official_package(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    """It makes the calls of Responses itself, and gives their results back."""
    parallel = calls(call("toolu_2", "Paris"), call("toolu_3", "Oslo"))
    upstream.replies(ONE, parallel, answer("All is fine."))
    server = proxy()
    asked: list[object] = []

    def look(arguments: dict[str, object]) -> str:
        asked.append(arguments["city"])
        return f"fine in {arguments['city']}"

    def run() -> str:
        tool: Any = {"type": "function", "strict": False, **WEATHER}
        runner = ResponsesToolRunner(functions=[RegisteredFunction(tool, look)])
        with client(server) as api:
            about: Any = {"model": "sonnet", "input": "How is the weather?"}
            return runner.run(api, about, max_steps=5, stream=stream).output_text

    assert await deferToThread(run) == "All is fine."
    assert sorted(map(str, asked)) == ["Oslo", "Paris", "Paris"]
    roles = [role for role, _ in native(upstream.bodies[-1])]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


test_runner_of_the_official_package = pytest.mark.threads(
    test_runner_of_the_official_package
)


@ensureDeferred
async def test_cut_before_a_call_is_asked_for_again(
    proxy: Start, upstream: Upstream
) -> None:
    first = Reply(blocks=(words("Let me look."), call("toolu_1", "Paris")), cut_after=2)
    upstream.replies(first, ONE)
    response = await proxy().chat("hello", tools=TOOLS)
    message = (await response.json())["choices"][0]["message"]
    assert message["content"] == "Let me look."
    assert [c["id"] for c in message["tool_calls"]] == ["toolu_1"]


def cut_within_a_call(cut_after: int, held: "Deferred[None] | None" = None) -> Reply:
    return Reply(
        blocks=(call("toolu_0", "Oslo"),),
        stop_reason="tool_use",
        hold_after=cut_after,
        held=held,
        cut_after=cut_after,
    )


@pytest.mark.parametrize("cut_after", [1, 3])
@ensureDeferred
async def test_cut_within_a_call_is_asked_for_again(
    proxy: Start, upstream: Upstream, cut_after: int
) -> None:
    upstream.replies(cut_within_a_call(cut_after), ONE)
    response = await proxy().chat("hello", tools=TOOLS)
    (choice,) = (await response.json())["choices"]
    (told,) = choice["message"]["tool_calls"]
    assert told["id"] == "toolu_1"
    assert json.loads(told["function"]["arguments"]) == {"city": "Paris"}


@pytest.mark.parametrize("cut_after", [1, 3])
@ensureDeferred
async def test_cut_within_a_call_that_was_told_is_an_error(
    proxy: Start, upstream: Upstream, cut_after: int
) -> None:
    held: Deferred[None] = Deferred()
    upstream.replies(cut_within_a_call(cut_after, held), ONE)
    received = bytearray()
    response = await proxy().chat("hello", tools=TOOLS, stream=True)

    def receive(data: bytes) -> None:
        received.extend(data)
        if b"toolu_0" in received and not held.called:
            held.callback(None)

    await response.collect(receive)
    told = received.decode()
    assert (
        "does not continue the first"
        in json.loads(events(told)[-1])["error"]["message"]
    )
    assert "toolu_1" not in told
    assert "[DONE]" not in told


@ensureDeferred
async def test_tools_beside_plain_text(proxy: Start, upstream: Upstream) -> None:
    response = await proxy().chat("hello", tools=TOOLS, stream=True)
    chunks = chunks_of(await response.text())
    assert text_of(chunks) == "one two three"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "ids", [("a", "a_2"), ("a_2", "a"), ("a", "a"), ("a-2", "a", "a"), ("x:y", "x.y")]
)
@ensureDeferred
async def test_no_result_is_lost_whatever_the_ids(
    proxy: Start, upstream: Upstream, ids: tuple[str, ...]
) -> None:
    messages: list[Any] = ["hello"]
    for number, identifier in enumerate(ids):
        messages += [asked((identifier, "Paris")), result(identifier, f"sun {number}")]
    response = await proxy().chat(*messages, tools=TOOLS)
    assert await response.json()
    blocks = [block for _, content in native(upstream.bodies[0]) for block in content]
    uses = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = [block for block in blocks if block["type"] == "tool_result"]
    assert [block["tool_use_id"] for block in results] == uses
    assert [b["content"] for b in results] == [f"sun {n}" for n in range(len(ids))]
    assert len(set(uses)) == len(ids)


@ensureDeferred
async def test_names_are_the_clients_there_and_back(
    proxy: Start, upstream: Upstream
) -> None:
    """Such as the API does not take: it has another name there."""
    tools = [{"type": "function", "function": {"name": "files.read"}}]
    named = {"type": "function", "function": {"name": "files.read", "arguments": "{}"}}
    history = {"role": "assistant", "tool_calls": [{"id": "c", **named}]}
    upstream.script(calls(ScriptedBlock(("{}",), tool_use=("toolu_1", "files_read"))))
    messages = ("hello", history, result("c", "sun"))
    response = await proxy().chat(*messages, tools=tools)
    [choice] = (await response.json())["choices"]
    assert choice["message"]["tool_calls"] == [{"id": "toolu_1", **named}]
    [body] = upstream.bodies
    assert [tool["name"] for tool in body["tools"]] == ["files_read"]
    assert native(body)[1][1][0]["name"] == "files_read"
    adjusted = response.headers.getRawHeaders("x-ccproxy-adjusted")
    assert adjusted == ["tools[0].function.name"]


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_call_that_ends_otherwise_is_a_call(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    upstream.script(Reply(blocks=(call("toolu_1", "Oslo"),), stop_reason="end_turn"))
    response = await proxy().chat("hello", tools=TOOLS, stream=stream)
    if stream:
        [choice] = chunks_of(await response.text())[-1]["choices"]
    else:
        [choice] = (await response.json())["choices"]
        assert choice["message"]["tool_calls"][0]["id"] == "toolu_1"
    assert choice["finish_reason"] == "tool_calls"
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_call_that_was_cut_is_taken_back(
    proxy: Start, upstream: Upstream
) -> None:
    cut = ScriptedBlock(('{"city": "Os',), tool_use=("toolu_1", "get_weather"))
    upstream.replies(
        Reply(blocks=(cut,), stop_reason="max_tokens"), answer("I try again.")
    )
    server = proxy()
    first = await (await server.chat("hello", tools=TOOLS, max_tokens=20)).json()
    [choice] = first["choices"]
    assert choice["finish_reason"] == "length"
    [made] = choice["message"]["tool_calls"]
    given = result(made["id"], "not run: cut off")
    response = await server.chat(
        "hello", choice["message"], given, "again, shorter", tools=TOOLS
    )
    assert response.code == 200
    assert await response.json()
    _, (_, [use]), (_, answered) = native(upstream.bodies[-1])
    assert use["input"] == {"arguments": '{"city": "Os'}
    assert answered[0]["tool_use_id"] == use["id"] == "toolu_1"
    adjusted = response.headers.getRawHeaders("x-ccproxy-adjusted")
    assert adjusted == ["messages[1].tool_calls[0].function.arguments"]


@ensureDeferred
async def test_arguments_of_the_history_are_the_clients_bytes(
    proxy: Start, upstream: Upstream
) -> None:
    """As far as the CLI, which prints them anew, can; the rest is named."""
    large = asked(("c", "Oslo"))
    arguments = '{"n": 9007199254740991, "s": 1.5, "deep": [{"a": [null, true]}]}'
    large["tool_calls"][0]["function"]["arguments"] = arguments
    response = await proxy().chat("hello", large, result("c", "sun"), tools=TOOLS)
    assert await response.json()
    assert native(upstream.bodies[-1])[1][1][0]["input"] == json.loads(arguments)
    assert response.headers.getRawHeaders("x-ccproxy-adjusted") is None
    arguments = '{"offset": 12345678901234567890}'
    large["tool_calls"][0]["function"]["arguments"] = arguments
    response = await proxy().chat("hello", large, result("c", "sun"), tools=TOOLS)
    assert await response.json()
    [adjusted] = response.headers.getRawHeaders("x-ccproxy-adjusted")
    assert adjusted == "messages[1].tool_calls[0].function.arguments"
