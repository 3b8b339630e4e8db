"""CLIs that are used again: what reaches the model is what a new one would send.

The real CLI is behind it. ``CCPROXY_FUZZ=300`` compares more than the suite has time
for; ``CCPROXY_FUZZ_SEED`` takes other conversations.
"""

import copy
import json
import os
import random
import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from ccproxy.server.fake_upstream import Block, Reply, words
from tests.e2e.test_tools import BASH, WEATHER, calls
from tests.support.raw import connect, request
from tests.support.server import KEY, RunningProxy, Upstream, events
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

TRIES = int(os.environ.get("CCPROXY_FUZZ", "30"))
SEED = int(os.environ.get("CCPROXY_FUZZ_SEED", "5"))


_FOLDER = re.compile(r"/\S*/ccproxy-\w+")


def bare(body: Mapping[str, Any]) -> dict[str, Any]:
    """An upstream body without what is the CLI's alone.

    That is: the session's id, the marks of its cache, and where in the conversation
    its own notes stand. What they say is compared.
    """
    made = copy.deepcopy(dict(body))
    del made["metadata"]
    turns: list[Any] = []
    notes: list[str] = []
    efforts = set()
    for message in made.pop("messages"):
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        for block in content:
            block.pop("cache_control", None)
        if message["role"] == "system":
            notes += [_FOLDER.sub("", block["text"]) for block in content]
            efforts.add(json.dumps(message.get("output_config")))
        else:
            turns.append((message["role"], content))
    for block in made["system"]:
        block.pop("cache_control", None)
    for tool in made["tools"]:
        tool.pop("cache_control", None)
    # A conversation with one turn has its effort in the note itself.
    efforts.discard("null")
    return {**made, "turns": turns, "notes": notes, "efforts": sorted(efforts)}


def number(body: Mapping[str, Any]) -> int:
    """The same for the same conversation."""
    turns = json.dumps(bare(body)["turns"]).encode()
    return int.from_bytes(blake2b(turns, digest_size=6).digest(), "big")


def model(body: Mapping[str, Any]) -> Reply:
    """Says something else in each conversation, and always the same in one."""
    chance = number(body)
    names = [tool["name"] for tool in body["tools"]]
    said = words(f"Well, {chance % 1000} it is. ")
    if "StructuredOutput" in names:
        form = Block(('{"a": ', f'"{chance}"}}'), tool_use=("toolu_s", names[-1]))
        return calls(form)
    match chance % 12:
        case 0 | 1 if names:
            use = (f"toolu_{chance % 5}", names[chance % len(names)])
            return calls(said, Block(('{"city": ', '"Oslo"}'), tool_use=use))
        case 2:
            thought = Block(("Let me ", "see."), is_thinking=True)
            return Reply(blocks=(thought, said))
        case 3:
            return Reply(blocks=(said,), stop_reason="max_tokens")
        case 4:
            return Reply(blocks=(said,), stop_reason="refusal")
        case 5:
            return Reply(status=400, error=("invalid_request_error", "no such luck"))
        case 6:
            return Reply(blocks=(said, words("And more.")))
        case 7:
            return Reply(blocks=(words(" \n"), said))
    return Reply(blocks=(said,))


TOOLS: list[list[Any]] = [
    [],
    [{"type": "function", "function": WEATHER}],
    [{"type": "function", "function": BASH}, {"type": "function", "function": WEATHER}],
]
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "form",
        "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}


@define
class Client:
    """Someone with several conversations, who goes back and changes them."""

    rng: random.Random
    histories: list[list[Any]] = field(factory=lambda: [[]])

    def request(self) -> dict[str, Any]:
        """The next request; what is in it depends on the answers so far."""
        rng = self.rng
        history = rng.choice(self.histories)
        match rng.randrange(8):
            case 0:
                history = []
                self.histories.append(history)
            case 1 if history:
                # A branch, or an answer asked for again.
                history = copy.deepcopy(history[: rng.randrange(len(history))])
                self.histories.append(history)
            case 2 if history:
                edited = rng.choice(history)
                if isinstance(edited.get("content"), str) and edited["role"] != "tool":
                    edited["content"] += " (edited)"
        while history and history[-1]["role"] == "tool":
            # Not only half of the results.
            history.pop()
        last = history[-1] if history else {}
        if last.get("tool_calls"):
            history += [
                {"role": "tool", "tool_call_id": call["id"], "content": "fine"}
                for call in last["tool_calls"]
            ]
        if history[-1:] == [] or history[-1]["role"] != "tool" or rng.random() < 0.2:
            said = rng.choice(("Hello", "Go on", "@/etc/hostname", "/clear", "Why? "))
            history.append({"role": "user", "content": f"{said} {rng.randrange(100)}"})
        self.current = history
        system = [{"role": "system", "content": rng.choice(("Be brief.", "Be kind."))}]
        body: dict[str, Any] = {"messages": [*system[: rng.randrange(2)], *history]}
        if rng.random() < 0.3:
            body["model"] = rng.choice(("opus", "haiku"))
        if rng.random() < 0.3:
            body["reasoning_effort"] = rng.choice(("low", "high"))
        if rng.random() < 0.3:
            body["max_tokens"] = rng.choice((50, 1000))
        if rng.random() < 0.2:
            body["stop"] = ["END"]
        if rng.random() < 0.6:
            body["tools"] = rng.choice(TOOLS[1:])
            if rng.random() < 0.2:
                body["parallel_tool_calls"] = False
        elif rng.random() < 0.2:
            body["response_format"] = FORM
        return copy.deepcopy(body)

    def answered(self, message: Mapping[str, Any] | None) -> None:
        """Take the answer into the conversation; without one, leave it."""
        if message is None:
            self.histories = [h for h in self.histories if h is not self.current]
            self.histories = self.histories or [[]]
        elif message["content"] or message.get("tool_calls"):
            self.current.append({k: v for k, v in message.items() if k in _KEPT})

    current: list[Any] = field(factory=list)


_CUT = ("length", "content_filter")
_KEPT = ("role", "content", "tool_calls")


async def send(
    server: RunningProxy, upstream: Upstream, body: Mapping[str, Any]
) -> tuple[int, Any, list[Any]]:
    """What the client is told, and what the model was."""
    upstream.bodies.clear()
    response = await server.post("/v1/chat/completions", body)
    document = await response.json()
    for unlike in ("id", "created"):
        document.pop(unlike, None)
    return response.code, document, [bare(sent) for sent in upstream.bodies]


@ensureDeferred
async def test_the_model_cannot_tell(proxy: Start, upstream: Upstream) -> None:
    again = proxy(spares=0, max_processes=8)
    anew = proxy(reuse="off", max_suspended=0, spares=0, max_processes=1)
    upstream.script(model)
    client = Client(random.Random(SEED))
    before = again.starts
    for position in range(TRIES):
        body = client.request()
        seen = await send(again, upstream, body)
        wanted = await send(anew, upstream, body)
        assert seen[:2] == wanted[:2], (position, json.dumps(body))
        # A CLI that was cut short is killed, in a race with a question of its own.
        cut = seen[0] == 200 and seen[1]["choices"][0]["finish_reason"] in _CUT
        for one, other in zip(seen[2], wanted[2], strict=not cut):
            for part in other:
                assert one[part] == other[part], (part, position, json.dumps(body))
        client.answered(seen[1]["choices"][0]["message"] if seen[0] == 200 else None)
    # Half of the answers would do; a third of them end in a way that ends the CLI.
    assert again.starts - before < TRIES * 0.6


HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
ASKED = {"messages": [{"role": "user", "content": "look"}], "tools": TOOLS[1]}
CALL = Block(('{"city": ', '"Oslo"}'), tool_use=("toolu_1", "get_weather"))
THOUGHT = Block(("SECRET",), is_thinking=True)

# What becomes of a turn, and whether its CLI is asked again.
ENDS: dict[str, tuple[Reply, dict[str, Any], bool]] = {
    "done": (Reply(blocks=(words("SECRET"),)), HELLO, True),
    "thought": (Reply(blocks=(THOUGHT, words("SECRET"))), HELLO, True),
    "length": (
        Reply(blocks=(words("SECRET"),), stop_reason="max_tokens"),
        HELLO,
        False,
    ),
    "refusal": (Reply(blocks=(words("SECRET"),), stop_reason="refusal"), HELLO, False),
    "refused": (
        Reply(status=400, error=("invalid_request_error", "SECRET")),
        HELLO,
        False,
    ),
    "overloaded": (Reply(status=529, error=("overloaded_error", "S")), HELLO, False),
    "call abandoned": (calls(words("SECRET"), CALL), ASKED, True),
    "stop sequence": (
        Reply(blocks=(words("SECRET"),), stop_reason="stop_sequence"),
        {**HELLO, "stop": ["SECRET"], "max_tokens": 77, "reasoning_effort": "low"},
        True,
    ),
    "cut and asked again": (
        Reply(blocks=(words("SECRET " * 4),), cut_after=2),
        HELLO,
        True,
    ),
}


def called(identifier: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    return {"id": identifier, "type": "function", "function": function}


def who(upstream: Upstream) -> str:
    """The CLI that put the last question."""
    about = json.loads(upstream.bodies[-1]["metadata"]["user_id"])
    identifier: str = about["session_id"]
    return identifier


@pytest.mark.parametrize("end", ENDS)
@ensureDeferred
async def test_nothing_is_left_of_another_conversation(
    proxy: Start, upstream: Upstream, end: str
) -> None:
    """Whatever its end was: the next body is that of a CLI that was asked nothing."""
    reply, body, is_kept = ENDS[end]
    server = proxy(spares=0, max_processes=1)
    if reply.cut_after is None:
        upstream.script(reply)
    else:
        upstream.replies(reply, Reply(blocks=(words("SECRET again"),)))
    response = await server.post("/v1/chat/completions", {**body, "user": "SECRET"})
    await response.text()
    first = who(upstream)
    await until(lambda: not server._pool._running)

    other = {"messages": [{"role": "user", "content": "other"}]}
    upstream.script(Reply(blocks=(words("fine"),)))
    seen = await send(server, upstream, other)
    assert (who(upstream) == first) is is_kept
    anew = proxy(reuse="off", max_suspended=0, spares=0)
    assert seen == await send(anew, upstream, other)
    assert "SECRET" not in json.dumps(seen)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_answer_of_a_client_that_went_away_is_taken_back(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    held: Deferred[None] = Deferred()
    server = proxy(spares=0, max_processes=1)
    before = {"messages": [{"role": "user", "content": "before"}]}
    said = await send(server, upstream, before)
    asked = number(upstream.bodies[-1])
    history = [*before["messages"], said[1]["choices"][0]["message"]]
    secret = {"messages": [*history, {"role": "user", "content": "SECRET"}]}
    upstream.script(Reply(blocks=(words("SECRET " * 9),), hold_after=2, held=held))
    body = json.dumps({**secret, "stream": stream}).encode()
    gone = await connect(reactor, server.number)
    about = {"authorization": f"Bearer {KEY}"}
    gone.send(request("POST", "/v1/chat/completions", body, **about))
    if stream:
        await gone.expect(b"SECRET")
    await until(lambda: upstream.bodies[-1:] and number(upstream.bodies[-1]) != asked)
    gone.abort()
    await until(lambda: upstream.api.gone == 1)
    held.callback(None)
    first = who(upstream)
    upstream.script(Reply(blocks=(words("fine"),)))
    other = {"messages": [*history, {"role": "user", "content": "other"}]}
    seen = [await send(server, upstream, body) for body in (other, HELLO)]
    assert who(upstream) == first
    anew = proxy(reuse="off", spares=0)
    assert seen == [await send(anew, upstream, body) for body in (other, HELLO)]


@ensureDeferred
async def test_cli_that_took_a_turn_back_goes_back_further(
    proxy: Start, upstream: Upstream
) -> None:
    """The last turn that it is said to have seen is one that it still has."""
    server = proxy(spares=0, max_processes=1)
    history: list[Any] = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [called("toolu_9")]},
        {"role": "tool", "tool_call_id": "toolu_9", "content": "a cat"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "A dog."},
    ]
    asked = {"messages": [*history, *ASKED["messages"]], "tools": TOOLS[1]}
    upstream.script(calls(CALL))
    await send(server, upstream, asked)
    first = who(upstream)
    upstream.script(Reply(blocks=(words("fine"),)))
    # The session that waits for the result is let go, and its turn taken back.
    await send(server, upstream, HELLO)
    assert who(upstream) == first


@ensureDeferred
async def test_next_turn_of_a_conversation_is_all_that_is_sent(
    proxy: Start, upstream: Upstream
) -> None:
    server = proxy(spares=0, reuse="continue")
    history: list[Any] = []
    clis = set()
    for position in range(3):
        history.append({"role": "user", "content": f"question {position}"})
        _, document, _ = await send(server, upstream, {"messages": history})
        history.append(document["choices"][0]["message"])
        clis.add(who(upstream))
    assert len(clis) == 1
    # Another conversation is for another CLI, if none may be rewound.
    await send(server, upstream, HELLO)
    assert who(upstream) not in clis


@ensureDeferred
async def test_two_at_once_are_two_clis(proxy: Start, upstream: Upstream) -> None:
    held: Deferred[None] = Deferred()
    server = proxy(spares=1, max_processes=3)
    upstream.script(Reply(blocks=(words("one two"),), hold_after=1, held=held))
    asked = [server.chat("hello") for _ in range(2)]
    await until(lambda: len(upstream.bodies) == 2)
    held.callback(None)
    for response in await gatherResults(asked):
        assert (await response.json())["choices"][0]["message"]["content"] == "one two"
    ids = [json.loads(b["metadata"]["user_id"])["session_id"] for b in upstream.bodies]
    assert len(set(ids)) == 2


@ensureDeferred
async def test_time_in_the_queue_is_told(proxy: Start, upstream: Upstream) -> None:
    held: Deferred[None] = Deferred()
    server = proxy(max_processes=1, spares=0, max_queue=1)
    # Who comes sooner waits for the first look.
    await server.ready()
    upstream.script(Reply(blocks=(words("one two"),), hold_after=1, held=held))
    first = server.chat("hello")
    await until(lambda: upstream.bodies)
    second = server.chat("hello", stream=True)
    await until(lambda: server._pool._line)
    third = await server.chat("hello")
    assert third.code == 503
    assert (await third.json())["error"]["code"] == "queue_full"
    assert int(third.headers.getRawHeaders("retry-after")[0]) >= 1
    held.callback(None)
    told: list[int] = []
    for asked in (first, second):
        response = await asked
        assert response.code == 200
        told += map(int, response.headers.getRawHeaders("x-ccproxy-queue-ms"))
        assert b"two" in await response.content()
    assert told[0] < told[1]


@ensureDeferred
async def test_stop_lets_streams_finish(proxy: Start, upstream: Upstream) -> None:
    held: Deferred[None] = Deferred()
    server = proxy(drain_seconds=30.0)
    upstream.script(Reply(blocks=(words("one two three"),), hold_after=1, held=held))
    response = await server.chat("hello", stream=True)
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b"one" in b"".join(received))
    stopped = Deferred.fromCoroutine(server.stop())
    held.callback(None)
    await done
    assert events(b"".join(received).decode())[-1] == "[DONE]"
    await stopped
    assert server.processes == 0


@ensureDeferred
async def test_ready(proxy: Start, upstream: Upstream) -> None:
    response = await proxy().get("/ready")
    assert response.code == 200
    told = await response.json()
    assert told["ready"] is True
    assert told["claude"]["version"].startswith("2.")
    assert told["claude"]["login"]["source"] == "ANTHROPIC_API_KEY"
    out = proxy(environment={"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": ""})
    response = await out.get("/ready")
    assert response.code == 503
    assert "log in" in (await response.json())["message"]
    response = await out.get("/ready", headers={"authorization": "Bearer wrong"})
    assert response.code == 401


@ensureDeferred
async def test_question_put_twice_is_taken_back_whole(
    proxy: Start, upstream: Upstream
) -> None:
    """The model answered a demand for a call in prose, and was reminded of it."""
    server = proxy(spares=0, max_processes=1)
    upstream.script(Reply(blocks=(words("prose"),)))
    other = {"messages": [{"role": "user", "content": "other"}]}
    seen: list[Any] = []
    for about in (ASKED, {**ASKED, **other}):
        seen.append(await send(server, upstream, {**about, "tool_choice": "required"}))
        seen.append(who(upstream))
    assert seen[1] == seen[3]
    assert [len(body["turns"]) for body in seen[2][2]] == [1, 3]
