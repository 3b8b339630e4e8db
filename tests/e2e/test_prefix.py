"""The prompt cache is kept by construction: bodies of a conversation begin alike.

The provider reads what stood before from its cache if it stands there again, byte for
byte, up to a breakpoint. So a body has to depend on nothing but the conversation: not
on the process, the server, or what was asked in between.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.server import RunningProxy, Upstream

Start = Callable[..., RunningProxy]
Request = dict[str, Any]
Grow = Callable[[RunningProxy], Awaitable[list[Request]]]

TURNS = 2
PARAMETERS = {"type": "object", "properties": {"b": {}, "a": {"type": "number"}}}
CHAT_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": PARAMETERS}}
    for name in ("look", "act")
]
TOOLS = [{"name": name, "input_schema": PARAMETERS} for name in ("look", "act")]
# What the CLI says of each question by itself.
OWN = ("metadata", "diagnostics")


def model(body: Mapping[str, Any]) -> Reply:
    """Thinks, calls a tool, and tells what it found."""
    thought = ScriptedBlock(("Let me see.",), is_thinking=True)
    content = body["messages"][-1]["content"]
    has_result = not isinstance(content, str) and content[0]["type"] == "tool_result"
    if has_result:
        return Reply(blocks=(thought, words("It is warm.")))
    called = len(body["messages"])
    call = ScriptedBlock(('{"b": 1.0, "a": 2}',), tool_use=(f"toolu_{called}", "look"))
    return Reply(blocks=(thought, call), stop_reason="tool_use")


async def chat(server: RunningProxy) -> list[Request]:
    """The requests of a chat client, which sends back what it was told."""
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    sent: list[Request] = []
    for number in range(2 * TURNS):
        if number % 2 == 0:
            messages.append({"role": "user", "content": f"And number {number}?"})
        sent.append({"messages": list(messages), "tools": CHAT_TOOLS})
        answer = await (await ask(server, "/v1/chat/completions", sent[-1])).json()
        message = answer["choices"][0]["message"]
        messages.append(message)
        messages.extend(
            {"role": "tool", "tool_call_id": call["id"], "content": "warm"}
            for call in message.get("tool_calls") or ()
        )
    return sent


async def messages(server: RunningProxy) -> list[Request]:
    """The requests of a client of the Messages API; it sets no breakpoints."""
    told: list[Any] = []
    sent: list[Request] = []
    for number in range(2 * TURNS):
        if number % 2 == 0:
            told.append({"role": "user", "content": f"And number {number}?"})
        request = {"model": "sonnet", "max_tokens": 999, "system": "Be brief."}
        thinking = {"type": "adaptive", "display": "summarized"}
        sent.append(
            {**request, "messages": list(told), "tools": TOOLS, "thinking": thinking}
        )
        answer = await (await ask(server, "/v1/messages", sent[-1])).json()
        told.append({"role": "assistant", "content": answer["content"]})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "warm"}
            for block in answer["content"]
            if block["type"] == "tool_use"
        ]
        if results:
            told.append({"role": "user", "content": results})
    return sent


async def ask(server: RunningProxy, path: str, request: Request) -> Any:
    response = await server.post(path, request)
    assert response.code == 200, await response.text()
    return response


def written(value: Any) -> str:
    """JSON as it stands in the body, in its own order of keys."""
    return json.dumps(value)


def turns(body: Mapping[str, Any]) -> list[str]:
    """The messages without breakpoints, which are no part of what is cached."""
    return [
        written({**message, "content": _unmarked(message["content"])})
        for message in body["messages"]
    ]


def _unmarked(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [{k: v for k, v in b.items() if k != "cache_control"} for b in content]


def rest(body: Mapping[str, Any]) -> str:
    """All but the messages."""
    return written({k: v for k, v in body.items() if k not in (*OWN, "messages")})


def check_prefixes(bodies: Sequence[Mapping[str, Any]]) -> None:
    """Each body begins with the one before, which has a breakpoint at its end."""
    for before, after in pairwise(bodies):
        assert rest(after) == rest(before)
        assert turns(after)[: len(turns(before))] == turns(before)
        assert len(turns(after)) > len(turns(before))
        assert "cache_control" in before["messages"][-1]["content"][-1]


@pytest.mark.parametrize(
    ("path", "grow"),
    [("/v1/chat/completions", chat), ("/v1/messages", messages)],
    ids=["chat", "messages"],
)
@ensureDeferred
async def test_each_body_begins_with_the_one_before(
    proxy: Start, upstream: Upstream, path: str, grow: Grow
) -> None:
    upstream.script(model)
    server = proxy()
    sent = await grow(server)
    bodies = list(upstream.bodies)
    assert len(bodies) == 2 * TURNS
    kinds = [b["type"] for b in bodies[-1]["messages"][1]["content"]]
    assert kinds == ["thinking", "tool_use"]
    check_prefixes(bodies)

    # Another server has other processes, and remembers nothing of it.
    other = proxy(fresh=True)
    upstream.bodies.clear()
    for number, request in enumerate(sent):
        await ask((other, server)[number % 2], path, request)
    await other.stop()
    # A third begins in the middle, as one does that was started again.
    third = proxy(fresh=True)
    for request in reversed(sent):
        await ask(third, path, request)
    again, backwards = upstream.bodies[: len(sent)], upstream.bodies[len(sent) :]
    whole = [(turns(body), rest(body)) for body in bodies]
    assert [(turns(body), rest(body)) for body in again] == whole
    assert [(turns(body), rest(body)) for body in reversed(backwards)] == whole
