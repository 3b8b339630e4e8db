"""Processes as clients see them: isolation of requests, the queue, the stop."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.e2e.conftest import of_today
from tests.support.raw import connect, request
from tests.support.server import (
    KEY,
    RunningProxy,
    Upstream,
    answer,
    events,
    start_proxy,
)
from tests.support.tool_calls import TOOLS, calls, native
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

SHARED: dict[str, Any] = {"spares": 0, "max_processes": 1}
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
OTHER: dict[str, Any] = {"messages": [{"role": "user", "content": "other"}]}
ASKED = {"messages": [{"role": "user", "content": "look"}], "tools": TOOLS}
CALL = ScriptedBlock(('{"city": ', '"Oslo"}'), tool_use=("toolu_1", "get_weather"))
THOUGHT = ScriptedBlock(("SECRET",), is_thinking=True)


def bare(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without the name of the session that it is of."""
    return {name: value for name, value in body.items() if name != "metadata"}


def sessions(upstream: Upstream) -> list[str]:
    """Which CLI has put each question."""
    ids = [json.loads(body["metadata"]["user_id"]) for body in upstream.bodies]
    return [about["session_id"] for about in ids]


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


# How an answer ends, and the request.
ENDS: dict[str, tuple[Reply, dict[str, Any]]] = {
    "done": (answer("SECRET"), HELLO),
    "thought": (Reply(blocks=(THOUGHT, words("SECRET"))), HELLO),
    "length": (answer("SECRET", stop_reason="max_tokens"), HELLO),
    "refusal": (answer("SECRET", stop_reason="refusal"), HELLO),
    "refused": (Reply(status=400, error=("invalid_request_error", "SECRET")), HELLO),
    "call abandoned": (calls(words("SECRET"), CALL), ASKED),
    "stop sequence": (
        answer("SECRET", stop_reason="stop_sequence"),
        {**HELLO, "stop": ["SECRET"], "max_tokens": 77, "reasoning_effort": "low"},
    ),
}

# The process is ended before it asks again by itself.
MAY_END = ("length", "refused")
NEXT = {"messages": [{"role": "system", "content": "Be brief."}, *OTHER["messages"]]}


@pytest.fixture(scope="module")
def unasked(
    shared: tuple[RunningProxy, Upstream],
    claude: Path,
    probe_results: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[int, Any, list[Any]]:
    """What comes of `NEXT` in a process that was asked nothing before."""
    _, upstream = shared
    home = tmp_path_factory.mktemp("home")
    options = {"probe_results": probe_results, **of_today(SHARED)}
    server = start_proxy(reactor, upstream, home, claude_bin=claude, **options)
    upstream.script(answer("fine"))
    asked = Deferred.fromCoroutine(send(server, upstream, NEXT))
    seen: tuple[int, Any, list[Any]] = blockon(asked)
    blockon(Deferred.fromCoroutine(server.stop()))
    upstream.reset()
    return seen


@pytest.mark.parametrize("end", ENDS)
@ensureDeferred
async def test_nothing_is_left_of_another_conversation(
    unasked: tuple[int, Any, list[Any]], proxy: Start, upstream: Upstream, end: str
) -> None:
    """The next body is that of a process that was asked nothing before."""
    reply, body = ENDS[end]
    server = proxy(**SHARED)
    upstream.script(reply)
    secret = {"role": "system", "content": "SECRET"}
    before = {**body, "messages": [secret, *body["messages"]], "user": "SECRET"}
    await (await server.post("/v1/chat/completions", before)).text()
    first = sessions(upstream)[0]
    # A process that is killed may have asked once more, faster than the signal.
    await server.settled()
    await upstream.caught_up()
    upstream.script(answer("fine"))
    seen = await send(server, upstream, NEXT)
    assert sessions(upstream) == [first] or end in MAY_END
    assert seen == unasked
    assert "SECRET" not in json.dumps(seen)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_answer_of_a_client_that_went_away(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    """It is broken off; its process answers the next one, and tells nothing of it."""
    held: Deferred[None] = Deferred()
    server = proxy(**SHARED)
    await send(server, upstream, HELLO)
    [first] = sessions(upstream)
    upstream.script(Reply(blocks=(words("SECRET " * 9),), hold_after=2, held=held))
    about = {"authorization": f"Bearer {KEY}"}
    secret = {"messages": [{"role": "user", "content": "SECRET"}], "stream": stream}
    body = json.dumps(secret).encode()
    gone = await connect(reactor, server.number)
    gone.send(request("POST", "/v1/chat/completions", body, **about))
    if stream:
        await gone.expect(b"SECRET")
    await until(lambda: len(upstream.bodies) == 2)
    gone.abort()
    await until(lambda: upstream.api.gone == 1)
    held.callback(None)
    upstream.script(answer("fine"))
    code, document, bodies = await send(server, upstream, OTHER)
    assert code == 200
    assert document["choices"][0]["message"]["content"] == "fine"
    assert "SECRET" not in json.dumps(bodies)
    assert sessions(upstream) == [first]


@ensureDeferred
async def test_any_conversation_goes_on_in_any_process(
    proxy: Start, upstream: Upstream
) -> None:
    """One process for the turns of several conversations, as each of them is."""
    server = proxy(**SHARED)
    histories: list[list[Any]] = [[], [], []]
    for turn in range(3):
        for name, history in enumerate(histories):
            history.append({"role": "user", "content": f"{name} asks {turn}"})
            upstream.script(answer(f"{turn} for {name}"))
            _, document, [body] = await send(server, upstream, {"messages": history})
            assert native(body) == [
                (said["role"], [{"type": "text", "text": said["content"]}])
                for said in history
            ]
            message = document["choices"][0]["message"]
            history.append({"role": "assistant", "content": message["content"]})
    assert server.processes == 1


@ensureDeferred
async def test_two_at_once_are_two_processes(proxy: Start, upstream: Upstream) -> None:
    held: Deferred[None] = Deferred()
    server = proxy(spares=0, max_processes=3)
    upstream.script(Reply(blocks=(words("one two"),), hold_after=1, held=held))
    asked = [server.chat("hello") for _ in range(2)]
    await until(lambda: len(upstream.bodies) == 2)
    held.callback(None)
    for response in await gatherResults(asked):
        assert (await response.json())["choices"][0]["message"]["content"] == "one two"
    assert len(set(sessions(upstream))) == 2


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
    await until(lambda: server.backend.queued == 1)
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


@pytest.mark.parametrize("compose", ["body", "native"])
@ensureDeferred
async def test_stop_lets_streams_finish(
    proxy: Start, upstream: Upstream, compose: str
) -> None:
    held: Deferred[None] = Deferred()
    server = proxy(drain_timeout=30.0, compose=compose)
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
async def test_ready(proxy: Start) -> None:
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
