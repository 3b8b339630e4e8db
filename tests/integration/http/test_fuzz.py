"""Mutated requests, as bytes and as JSON, never cause a 5xx of the proxy's.

``CCPROXY_FUZZ`` says how many of each kind (500 by default), ``CCPROXY_FUZZ_SEED``
where the dice begin. A fault of ours would also be in the log, which fails every test.
"""

import json
import os
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.web.channel import Phase
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.support.raw import RawClient, request
from tests.support.waiting import until

pytestmark = pytest.mark.threads

COUNT = int(os.environ.get("CCPROXY_FUZZ", "500"))
SEED = int(os.environ.get("CCPROXY_FUZZ_SEED", "6"))
BATCH = 25

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
)
PARAMETERS = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": PARAMETERS, "strict": True}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
}
CHAT: list[Any] = [
    {"model": "sonnet", "messages": [{"role": "user", "content": "x"}], "stream": True},
    {
        "model": "opus",
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "stop": ["a", "b"],
        "max_completion_tokens": 9,
        "reasoning_effort": "high",
        "stream_options": {"include_usage": True},
        "metadata": {"a": "b"},
        "n": 2,
    },
    {
        "messages": [{"role": "user", "content": "x"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": PARAMETERS, "strict": True},
        },
        "temperature": 0.5,
        "functions": [FUNCTION],
        "function_call": "auto",
        "logit_bias": {"1": 2},
    },
]
RESPONSES: list[Any] = [
    {"input": "x", "store": False, "stream": True},
    {
        "model": "sonnet",
        "instructions": "be brief",
        "input": [
            {"type": "message", "role": "user", "content": "x", "id": "msg_1"},
            {"role": "user", "content": [{"type": "input_text", "text": "y"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "encrypted_content": "g",
            },
            {"type": "item_reference", "id": "msg_0"},
            {"type": "compaction", "encrypted_content": "gAAAA"},
        ],
        "tools": [
            {"type": "function", "name": "f", "parameters": PARAMETERS},
            {"type": "custom", "name": "g", "format": {"type": "text"}},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": PARAMETERS}},
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "previous_response_id": None,
        "max_output_tokens": 100,
        "truncation": "auto",
        "store": False,
        "metadata": {"a": "b"},
    },
    {"input": [{"role": "user", "content": "x"}], "conversation": {"id": "conv_1"}},
    {"input": "x", "background": True, "store": True},
]
CONVERSATIONS: list[Any] = [
    {
        "metadata": {"a": "b"},
        "items": [
            {"type": "message", "role": "user", "content": "x", "id": "msg_1"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "local_shell_call", "call_id": "c", "action": {"command": ["a"]}},
        ],
    }
]
BODIES: Sequence[tuple[str, list[Any]]] = (
    ("/v1/chat/completions", CHAT),
    ("/v1/responses", RESPONSES),
    ("/v1/responses/compact", RESPONSES),
    ("/v1/conversations", CONVERSATIONS),
    ("/v1/conversations/conv_1/items", CONVERSATIONS),
    ("/v1/conversations/conv_1", CONVERSATIONS),
)

# JSON


def odd(dice: Random) -> Any:
    """A value where another was expected."""
    deep: Any = {}
    for _ in range(dice.choice((2, 50, 400))):
        deep = dice.choice(({"items": deep}, [deep], {"properties": {"a": deep}}))
    return dice.choice(
        (
            *(None, True, 0, -1, 1e308, -0.0, 2**31, 2**63, 2**64, 10**30, 0.1),
            *("", " ", "\0", "x" * 3000, "\ud800", "\u2028\r\n", "\U0001f600", "$ref"),
            *("data:", "data:image/png;base64,!!!!", "https://[", "file:///etc/passwd"),
            *([], {}, [[]], [None], {"": ""}, {"type": "x"}, [{}], {"type": None}),
            *("user", "tool", "function", "custom", "auto", "object", "item_reference"),
            *({"$ref": "#"}, {"type": ["a", 1]}, {"pattern": "("}, {"enum": []}, deep),
        )
    )


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: what holds it, and under which key or number."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, child in pairs:
        found.append((node, key))
        if isinstance(child, dict | list):
            found += places(child)
    return found


def mutated(dice: Random, document: Any) -> bytes:
    copy = json.loads(json.dumps(document))
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        holder, key = dice.choice(places(copy) or [({}, "")])
        match dice.randrange(6):
            case 0 if isinstance(holder, dict):
                holder.pop(key, None)
            case 1:
                other, at = dice.choice(places(copy) or [({}, "")])
                if at in other if isinstance(other, dict) else at < len(other):
                    # A copy: what holds itself has no end.
                    holder[key] = json.loads(json.dumps(other[at]))
            case 2 if isinstance(holder, list):
                holder.extend(json.loads(json.dumps(holder[:1] * dice.choice((1, 30)))))
            case 3 if isinstance(holder, dict):
                holder[dice.choice(("", "type", "id", "role", "\0", "x" * 200))] = odd(
                    dice
                )
            case _:
                holder[key] = odd(dice)
    return json.dumps(copy).encode()


def json_request(dice: Random) -> bytes:
    path, documents = dice.choice(BODIES)
    body = mutated(dice, dice.choice(documents))
    return request("POST", path, body, authorization=AUTHORIZATION, connection="close")


# Bytes


def corpus() -> list[bytes]:
    found = []
    for path, documents in BODIES:
        for document in documents:
            body = json.dumps(document).encode()
            found.append(request("POST", path, body, authorization=AUTHORIZATION))
    chunks = b'5\r\n{"a":\r\n3;x=y\r\n""}\r\n0\r\nx: y\r\n\r\n'
    chunked = {"authorization": AUTHORIZATION, "transfer_encoding": "chunked"}
    found.append(request("POST", "/v1/responses", **chunked) + chunks)
    for method, path in (
        ("GET", "/health"),
        ("GET", "/v1/models/opus"),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=3"),
        ("GET", "/v1/responses/resp_1/input_items?limit=5&order=asc&after=msg_1"),
        ("DELETE", "/v1/conversations/conv_1/items/msg_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("OPTIONS", "/v1/responses"),
        ("HEAD", "http://localhost/v1/models"),
    ):
        found.append(request(method, path, authorization=AUTHORIZATION))
    upgrade = {
        "authorization": AUTHORIZATION,
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    frame = b'\x81\x9b\0\0\0\0{"type":"response.create"}\x89\x80\0\0\0\0'
    found.append(request("GET", "/v1/responses", **upgrade) + frame)
    return found


CORPUS = corpus()
WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"\xff",
        b"%",
        b"%00",
        b"//",
        b"?",
    ),
    *(
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"expect: 100-continue",
    ),
    *(
        b"host: a\r\n",
        b"9" * 40,
        b"HTTP/1.0",
        b"*",
        b"{",
        b"[",
        b'"',
        b"\\u",
        b"-",
        b"\x88",
    ),
    *(
        b"connection: close\r\n",
        b"upgrade: websocket\r\n",
        b"origin: x\r\n",
        b"%ff",
        b";",
    ),
)


def raw_request(dice: Random) -> bytes:
    data = bytearray(dice.choice(CORPUS))
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        place = dice.randrange(len(data) + 1)
        length = dice.choice((1, 2, 5, 40))
        match dice.randrange(6):
            case 0:
                del data[place : place + length]
            case 1:
                data[place:place] = dice.choice(WORDS)
            case 2:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case 3:
                data[place:place] = data[place : place + length] * dice.choice((1, 20))
            case 4:
                other = dice.choice(CORPUS)
                data[place:] = other[dice.randrange(len(other)) :]
            case _:
                data[place : place + length] = dice.choice(WORDS)
    return bytes(data)


async def asked(http: HTTP, made: Sequence[bytes]) -> list[RawClient]:
    """Ask it all at once, and wait until nothing is left to be answered."""
    clients = []
    for data in made:
        clients.append(await http.connect())
        clients[-1].send(data)
    # Whoever connects later is read later.
    last = await http.connect()
    last.send(request("GET", "/health", connection="close"))
    await last.lost()

    def is_quiet() -> bool:
        busy = [c for c in http.site._channels if c.phase is Phase.ANSWERING]
        # A WebSocket is a request without an end.
        return all("dataReceived" in vars(channel) for channel in busy)

    await until(is_quiet)
    for client in clients:
        client.abort()
    return clients


def statuses(received: bytes) -> list[int]:
    found = received.split(b"HTTP/1.1 ")[1:]
    return [int(part[:3]) for part in found if part[:3].isdigit()]


@pytest.mark.parametrize("make", [json_request, raw_request])
@ensureDeferred
async def test_mutated_requests(
    serve: Callable[..., HTTP], make: Callable[[Random], bytes]
) -> None:
    dice = Random(SEED)
    http = serve(max_body=2**20)
    http.backend.asked = lambda ask: ask.answer('{"a": "b"}')
    seen: dict[int, int] = {}
    for begin in range(0, COUNT, BATCH):
        made = [make(dice) for _ in range(min(BATCH, COUNT - begin))]
        clients = await asked(http, made)
        for data, client in zip(made, clients, strict=True):
            for status in statuses(client.received):
                seen[status] = seen.get(status, 0) + 1
                assert status < 500, (data, client.received)
        http.backend.asks.clear()
    print(make.__name__, COUNT, dict(sorted(seen.items())))
    # The dice hit what is well-formed as well as what is not.
    assert {200, 400} <= set(seen)
