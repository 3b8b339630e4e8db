"""The Responses API on the real CLI, with treq and the official openai package."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import openai
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.conftest import ExpectedErrors
from tests.support.openai_client import client
from tests.support.server import KEY, RunningProxy, Upstream, answer, system
from tests.support.spec import response_errors, response_event_errors
from tests.support.tool_calls import TOOLS, TWO, native
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

pytestmark = pytest.mark.threads

INPUT: list[Any] = [
    {"role": "user", "content": "one"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "uno", "annotations": []}],
    },
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": [{"type": "input_text", "text": "@/etc/hostname"}]},
]


# What the CLI says of its own.
OWN = ("context_management", "metadata", "stream")


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def assert_body(body: Mapping[str, Any], instructions: str, **fields: Any) -> None:
    """What went up is the CLI's own, the instructions and these fields, exactly."""
    assert system(body) == ([instructions] if instructions else [])
    told = {k: v for k, v in body.items() if k not in (*OWN, "system")}
    # Where the request has none, the CLI has its own, by model and version.
    for name in ("max_tokens", "output_config"):
        assert name in told
        fields.setdefault(name, told[name])
    assert told == fields


def assert_native(upstream: Upstream, **fields: Any) -> None:
    [body] = upstream.bodies
    defaults: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "tools": [],
        "thinking": {"type": "adaptive", "display": "summarized"},
    }
    marker = {"type": "ephemeral"}
    # Instructions in the middle stay there: behind the message that follows.
    messages = [
        {"role": "user", "content": [text("one", cache_control=marker)]},
        {"role": "assistant", "content": [text("uno")]},
        {"role": "user", "content": [text("@/etc/hostname")]},
        {
            "role": "system",
            "content": [text("Be kind.", cache_control=marker)],
        },
    ]
    assert_body(body, "Be brief.", **{**defaults, "messages": messages, **fields})


@pytest.mark.parametrize("path", ["/responses", "/v1/responses"])
@ensureDeferred
async def test_document(proxy: Start, upstream: Upstream, path: str) -> None:
    body = {
        "input": INPUT,
        "instructions": "Be brief.",
        "model": "opus",
        "max_output_tokens": 77,
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
    }
    response = await proxy().post(path, body)
    document = await response.json()
    assert response.code == 200, document
    assert response.headers.getRawHeaders("x-ccproxy-ignored") == ["temperature"]
    assert response.headers.getRawHeaders("x-ccproxy-adjusted") == ["input[2]"]
    assert response_errors(document) == []
    assert document["status"] == "completed"
    assert document["model"] == "claude-opus-5-5"
    assert document["output"][0]["content"][0]["text"] == "one two three"
    assert document["usage"]["total_tokens"] == 36
    assert_native(
        upstream,
        model="claude-opus-5-5",
        max_tokens=77,
        output_config={"effort": "low"},
    )


@ensureDeferred
async def test_events(proxy: Start, upstream: Upstream) -> None:
    upstream.script(
        Reply(
            blocks=(ScriptedBlock(("hm ", "hm"), is_thinking=True), words("the answer"))
        )
    )
    response = await proxy().post("/responses", {"input": "hello", "stream": True})
    *frames, done, end = (await response.text()).split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    told = [json.loads(frame.partition("data: ")[2]) for frame in frames]
    assert [error for event in told for error in response_event_errors(event)] == []
    reasoning, message = told[-1]["response"]["output"]
    assert reasoning["summary"][0]["text"] == "hm hm"
    assert message["content"][0]["text"] == "the answer"


@ensureDeferred
async def test_cut_short_is_incomplete(proxy: Start, upstream: Upstream) -> None:
    upstream.script(answer(stop_reason="max_tokens"))
    response = await proxy().post("/responses", {"input": "hello"})
    document = await response.json()
    assert response_errors(document) == []
    assert document["incomplete_details"] == {"reason": "max_output_tokens"}


@ensureDeferred
async def test_failure_after_the_start_is_the_last_event(
    proxy: Start, upstream: Upstream, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("answers were cut off")
    held: Deferred[None] = Deferred()
    upstream.script(answer(hold_after=2, held=held))
    server = proxy(fresh=True)
    response = await server.post("/responses", {"input": "hello", "stream": True})
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b'" two"' in b"".join(received))
    await server.stop()
    await done
    held.callback(None)
    *_, last, _, _ = b"".join(received).decode().split("\n\n")
    event = json.loads(last.partition("data: ")[2])
    assert response_event_errors(event) == []
    assert event["type"] == "response.failed"
    assert "being stopped" in event["response"]["error"]["message"]


@ensureDeferred
async def test_sync_package(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def ask() -> Any:
        with client(server) as api:
            return api.responses.create(
                model="sonnet", input=INPUT, instructions="Be brief."
            )

    response = await deferToThread(ask)
    assert response.output_text == "one two three"
    assert response.status == "completed"
    assert_native(upstream)


@ensureDeferred
async def test_async_package(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY) as api:
            events = await api.responses.create(
                model="sonnet", input=INPUT, instructions="Be brief.", stream=True
            )
            return [event async for event in events]

    told = await deferToThread(lambda: asyncio.run(ask()))
    texts = [e.delta for e in told if e.type == "response.output_text.delta"]
    assert texts == ["one", " two", " three"]
    assert told[-1].response.output_text == "one two three"
    assert_native(upstream)


@ensureDeferred
async def test_stream_helper(proxy: Start, upstream: Upstream) -> None:
    server = proxy()

    def ask() -> Any:
        with (
            client(server) as api,
            api.responses.stream(model="sonnet", input="hello") as events,
        ):
            kinds = [event.type for event in events]
            return kinds, events.get_final_response()

    kinds, response = await deferToThread(ask)
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert response.output_text == "one two three"
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_refusals_are_what_the_package_knows(proxy: Start) -> None:
    server = proxy()

    def ask() -> openai.BadRequestError:
        with client(server) as api, pytest.raises(openai.BadRequestError) as caught:
            api.responses.create(
                model="sonnet", input="hello", previous_response_id="resp_1"
            )
        return caught.value

    error = await deferToThread(ask)
    assert (error.code, error.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )


@ensureDeferred
async def test_tool_loop_with_the_official_package(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(TWO, answer("Both are fine."))
    server = proxy()
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]

    def loop() -> list[Any]:
        items: list[Any] = [{"role": "user", "content": "How is the weather?"}]
        with client(server) as api:
            while True:
                with api.responses.stream(
                    model="sonnet",
                    input=items,
                    tools=tools,  # type: ignore[arg-type]  # plain dictionaries
                ) as told:
                    for _ in told:
                        pass
                    response = told.get_final_response()
                items += [
                    item.model_dump(exclude_none=True) for item in response.output
                ]
                calls = [i for i in response.output if i.type == "function_call"]
                if not calls:
                    return items
                items += [
                    {
                        "type": "function_call_output",
                        "call_id": call.call_id,
                        "output": f"fine in {json.loads(call.arguments)['city']}",
                    }
                    for call in reversed(calls)
                ]

    items = await deferToThread(loop)
    assert items[-1]["content"][0]["text"] == "Both are fine."
    _, (_, asked), (_, results) = native(upstream.bodies[-1])
    assert [block["id"] for block in asked] == ["toolu_1", "toolu_2"]
    assert [block["content"] for block in results] == ["fine in Oslo", "fine in Paris"]
    offered = [
        {k: v for k, v in tool.items() if k != "cache_control"}
        for tool in upstream.bodies[0]["tools"]
    ]
    assert offered == [
        {
            "name": tool["name"],
            "input_schema": tool["parameters"],
            **{k: tool[k] for k in ("description", "strict") if k in tool},
        }
        for tool in tools
    ]
