"""Any tools and any history: an answer or a clear refusal, and nothing left over.

The real CLI is behind it. ``CCPROXY_FUZZ=500`` tries more than the suite has time for.
"""

import copy
import json
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import DeferredSemaphore, gatherResults

from ccproxy.server.fake_upstream import Block, Reply, words
from tests.e2e.test_tools import WEATHER, calls
from tests.support.fitting_replies import fitting_reply
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.spec import (
    document_errors,
    error_errors,
    response_errors,
)

Start = Callable[..., RunningProxy]

TRIES = int(os.environ.get("CCPROXY_FUZZ", "40"))
SEED = int(os.environ.get("CCPROXY_FUZZ_SEED", "4"))

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, "", " ", "x", "a b", "@/etc/passwd", "/clear"),
    *("toolu_1", "toolu_1_2", "\u2028\x00", "x" * 5000, "[1]", '{"a": 1}', "auto"),
    *([], {}, [[]], [None], {"type": "object"}, {"type": "text", "text": ""}),
    *({"type": "function"}, {"name": "x"}, {"$ref": "#"}, "function", "required"),
]

CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "c2ln",
                    "index": 0,
                }
            ],
            "tool_calls": [
                {
                    "id": f"toolu_{number}",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                }
                for number in (1, 2)
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"},
        {
            "role": "tool",
            "tool_call_id": "toolu_2",
            "content": [{"type": "text", "text": "cold"}],
        },
        {"role": "user", "content": "and?"},
    ],
    "tools": [
        {"type": "function", "function": WEATHER},
        {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "get_weather"}}],
        },
    },
    "parallel_tool_calls": True,
    "reasoning_effort": "high",
    "response_format": {"type": "text"},
}
RESPONSES: dict[str, Any] = {
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "function_call",
            "call_id": "toolu_1",
            "name": "get_weather",
            "arguments": "{}",
        },
        {
            "type": "custom_tool_call",
            "call_id": "toolu_2",
            "namespace": "files",
            "name": "patch",
            "input": "a",
        },
        {"type": "function_call_output", "call_id": "toolu_1", "output": "warm"},
        {
            "type": "custom_tool_call_output",
            "call_id": "toolu_2",
            "output": [{"type": "input_text", "text": "done"}],
        },
    ],
    "tools": [
        {"type": "function", **WEATHER},
        {
            "type": "namespace",
            "name": "files",
            "description": "Files.",
            "tools": [
                {
                    "type": "custom",
                    "name": "patch",
                    "format": {"type": "grammar", "syntax": "regex", "definition": "a"},
                }
            ],
        },
        {"type": "local_shell"},
        {"type": "web_search"},
    ],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "store": False,
}
FORMAT = {
    "name": "weather",
    "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
}


def places(node: Any) -> list[tuple[Any, Any]]:
    """Everything in a value, as a container and where in it."""
    keys = node if isinstance(node, dict) else range(len(node))
    found = [(node, key) for key in keys]
    for key in keys:
        if isinstance(node[key], dict | list):
            found += places(node[key])
    return found


def mutated(body: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """A request with a few things wrong, or only odd."""
    made = copy.deepcopy(dict(body))
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        node, key = rng.choice(places(made))
        match rng.randrange(5):
            case 0 | 1:
                node[key] = copy.deepcopy(rng.choice(ODD))
            case 2:
                del node[key]
            case 3:
                other, place = rng.choice(places(made))
                node[key] = copy.deepcopy(other[place])
            case 4 if isinstance(node, list):
                node.insert(rng.randrange(len(node) + 1), copy.deepcopy(node[key]))
            case 4:
                node[str(rng.choice(ODD))] = node[key]
        if not made:
            break
    return made


def requests(rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    made = []
    for _ in range(TRIES):
        path, body = rng.choice(
            [("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES)]
        )
        if rng.random() < 0.2:
            form = {"type": "json_schema", "json_schema": FORMAT}
            flat = {"type": "json_schema", **FORMAT}
            body = {**body, "response_format": form, "text": {"format": flat}}
        body = {**body, "stream": rng.random() < 0.5}
        made.append((path, mutated(body, rng)))
    return made


def model(body: Mapping[str, Any]) -> Reply:
    """Say or call something, of what is offered; the same for the same request.

    Which of two requests at a time comes first is up to the machine.
    """
    told = [body["messages"], body.get("tools"), body.get("tool_choice")]
    rng = random.Random(json.dumps(told))
    names = [tool["name"] for tool in body.get("tools", [])]
    choice = body.get("tool_choice") or {"type": "auto"}
    if "format" in body.get("output_config", {}) and choice["type"] in ("auto", "none"):
        return fitting_reply(body)
    if choice["type"] == "tool":
        names = [choice["name"]]
    if not names or choice["type"] == "none":
        return answer()
    if choice["type"] == "auto" and rng.random() < 0.4:
        return answer()
    chosen = rng.sample(names, min(len(names), rng.choice((1, 2))))
    blocks = [
        Block(('{"input": "', 'a"}'), tool_use=(f"toolu_{rng.random()}", name))
        for name in chosen
    ]
    return calls(words("Let me see."), *blocks)


@ensureDeferred
async def test_any_tools_and_history(proxy: Start, upstream: Upstream) -> None:
    rng = random.Random(SEED)
    upstream.script(model)
    server = proxy(max_processes=4)
    seen: dict[int, int] = {}

    async def send(path: str, body: dict[str, Any]) -> None:
        response = await server.post(path, body)
        text = await response.text()
        shown = json.dumps(body)
        seen[response.code] = seen.get(response.code, 0) + 1
        if response.code != 200:
            assert 400 <= response.code < 500, (text, shown)
            error = json.loads(text)
            assert error_errors(error) == []
            assert error["error"]["message"], shown
        elif body.get("stream") is True:
            told = events(text)
            assert told[-1] == "[DONE]", (text[-500:], shown)
        else:
            check = document_errors if "chat" in path else response_errors
            assert check(json.loads(text)) == [], shown

    authenticator = DeferredSemaphore(3)
    await gatherResults(
        [authenticator.run(send, path, body) for path, body in requests(rng)],
        consumeErrors=True,
    )
    # Neither everything nor nothing is refused.
    assert seen[200] > TRIES // 8
    assert seen[400] > TRIES // 8
    # All that is left waits for results, and can be sent away.
    await server.idle()
