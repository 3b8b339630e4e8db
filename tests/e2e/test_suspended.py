"""Sessions that wait for results: to client and model the same as new ones."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.demo import Block, Reply, words
from tests.e2e.test_chat import chunks_of
from tests.e2e.test_tools import TOOLS, call, calls, native, result, texts
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Message = Mapping[str, Any]

USER = {"role": "user", "content": "How is the weather?"}
THINKING = Block(("Let me ", "see."), is_thinking=True)
ONE = calls(THINKING, words("Let me look."), call("toolu_1", "Paris"))
TWO = calls(call("toolu_2", "Paris"), call("toolu_3", "Oslo"))


def sessions(upstream: Upstream) -> list[str]:
    """Which CLI has put each question."""
    ids = [json.loads(body["metadata"]["user_id"]) for body in upstream.bodies]
    return [about["session_id"] for about in ids]


def turns_of(body: Mapping[str, Any]) -> list[Any]:
    """The native turns without the thinking, which chat clients leave out."""
    return [
        (role, [block for block in blocks if block["type"] != "thinking"])
        for role, blocks in native(body)
    ]


async def ask(
    server: RunningProxy, messages: Sequence[Message], stream: bool, **fields: Any
) -> dict[str, Any]:
    """The assistant's message."""
    response = await server.chat(*messages, tools=TOOLS, stream=stream, **fields)
    assert response.code == 200, await response.text()
    if not stream:
        message: dict[str, Any] = (await response.json())["choices"][0]["message"]
        return message
    text = ""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks_of(await response.text()):
        delta = chunk["choices"][0]["delta"]
        text += delta.get("content") or ""
        for part in delta.get("tool_calls", []):
            made = found.setdefault(part["index"], {"function": {"arguments": ""}})
            made["function"]["arguments"] += part["function"].get("arguments", "")
            if "id" in part:
                made |= {"id": part["id"], "type": "function"}
                made["function"]["name"] = part["function"]["name"]
    return {"role": "assistant", "content": text, "tool_calls": list(found.values())}


async def loop(
    server: RunningProxy, stream: bool, reverse: bool = False
) -> list[Message]:
    """A client that calls tools until it has an answer."""
    messages: list[Message] = [USER]
    while True:
        message = await ask(server, messages, stream)
        messages.append(message)
        made = message.get("tool_calls") or []
        if not made:
            return messages
        if reverse:
            made = made[::-1]
        for one in made:
            city = json.loads(one["function"]["arguments"])["city"]
            messages.append(result(one["id"], f"fine in {city}"))


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_five_rounds_are_one_session(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    """And what goes upstream is what new sessions would send."""
    rounds = [
        calls(words("Once more."), call(f"toolu_{n}", "Paris"), call(f"t{n}", "Oslo"))
        for n in range(5)
    ]
    upstream.replies(*rounds, answer("All are fine."))
    kept = proxy()
    first = await loop(kept, stream, reverse=True)
    await kept.stop()
    bodies = [turns_of(body) for body in upstream.bodies]
    assert len(set(sessions(upstream))) == 1
    upstream.bodies.clear()
    upstream.replies(*rounds, answer("All are fine."))
    anew = proxy(max_suspended=0)
    second = await loop(anew, stream, reverse=True)
    assert first == second
    assert first[-1]["content"] == "All are fine."
    assert len(set(sessions(upstream))) == 6
    assert [turns_of(body) for body in upstream.bodies] == bodies
    assert len(bodies[-1]) == 11


@ensureDeferred
async def test_thinking_stays_with_the_session(
    proxy: Start, upstream: Upstream
) -> None:
    """Though a client of chat completions does not give it back."""
    upstream.replies(ONE, answer("Fine."))
    messages = await loop(proxy(), stream=True)
    assert messages[-1]["content"] == "Fine."
    _, (_, blocks), _ = native(upstream.bodies[-1])
    assert blocks[0] == {
        "type": "thinking",
        "thinking": "Let me see.",
        "signature": "ZGVtbw==",
    }


@ensureDeferred
async def test_usage_is_of_the_request_alone(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(ONE, answer("Fine."))
    server = proxy()
    made = await ask(server, [USER], stream=False)
    results = [result("toolu_1", "sun")]
    response = await server.chat(USER, made, *results, tools=TOOLS)
    usage = (await response.json())["usage"]
    assert len(set(sessions(upstream))) == 1
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (16, 20)


@ensureDeferred
async def test_interleaved_clients_have_their_own(
    proxy: Start, upstream: Upstream
) -> None:
    def script(body: Mapping[str, Any]) -> Reply:
        city = native(body)[0][1][0]["text"]
        if len(native(body)) == 1:
            return calls(call("toolu_1", city))
        return answer(f"{native(body)[-1][1][0]['content'][0]['text']} there")

    upstream.script(script)
    server = proxy()
    histories: dict[str, list[Message]] = {
        city: [{"role": "user", "content": city}] for city in ("Paris", "Oslo")
    }
    for history in histories.values():
        history.append(await ask(server, history, stream=True))
    for city, history in histories.items():
        history.append(result("toolu_1", f"fine in {city}"))
    answers = [await ask(server, h, stream=True) for h in histories.values()]
    assert [a["content"] for a in answers] == [
        "fine in Paris there",
        "fine in Oslo there",
    ]
    assert len(set(sessions(upstream))) == 2


@ensureDeferred
async def test_restart_between_call_and_result(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(TWO, answer("Fine."))
    before = proxy()
    made = await ask(before, [USER], stream=False)
    await before.stop()
    history = [USER, made, result("toolu_3", "snow"), result("toolu_2", "sun")]
    last = await ask(proxy(), history, stream=False)
    assert last["content"] == "Fine."
    assert len(set(sessions(upstream))) == 2
    assert [b["content"] for b in native(upstream.bodies[-1])[-1][1]] == [
        texts("sun"),
        texts("snow"),
    ]


Edit = Callable[[list[dict[str, Any]]], None]


def edited(**changes: Any) -> Edit:
    def edit(history: list[dict[str, Any]]) -> None:
        history[-1].update(changes)

    return edit


def with_text(history: list[dict[str, Any]]) -> None:
    history.append({"role": "user", "content": "and hurry"})


def with_other_call(history: list[dict[str, Any]]) -> None:
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"city": "Oslo"}'


def with_other_words(history: list[dict[str, Any]]) -> None:
    history[1]["content"] = "Let me think."


def with_other_question(history: list[dict[str, Any]]) -> None:
    history[0] = {"role": "user", "content": "How warm is it?"}


def with_stripped_ids(history: list[dict[str, Any]]) -> None:
    """As OpenClaw does it."""
    history[1]["tool_calls"][0]["id"] = "toolu1"
    history[2]["tool_call_id"] = "toolu1"


def with_other_spaces(history: list[dict[str, Any]]) -> None:
    """As LangChain does it."""
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"city":"Paris"}'


IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501


@pytest.mark.parametrize(
    ("edit", "is_kept"),
    [
        (with_stripped_ids, True),
        (with_other_spaces, True),
        (edited(content="boom", is_error=True), True),
        (edited(content=[{"type": "text", "text": "a"}]), True),
        (edited(content=[{"type": "image_url", "image_url": {"url": IMAGE}}]), True),
        (edited(content="x" * 39_000), True),
        (edited(content="x" * 41_000), False),
        (edited(content=""), False),
        (edited(content=" \n"), False),
        (with_text, False),
        (with_other_call, False),
        (with_other_words, False),
        (with_other_question, False),
    ],
)
@ensureDeferred
async def test_what_comes_back_is_shown_as_it_is(
    proxy: Start, upstream: Upstream, edit: Edit, is_kept: bool
) -> None:
    """By the session that waited where it can, by a new one where not."""
    upstream.replies(ONE, answer("Fine."))
    bodies = []
    for kept in (4, 0):
        upstream.replies(ONE, answer("Fine."))
        server = proxy(max_suspended=kept)
        made = await ask(server, [USER], stream=False)
        history: list[Any] = [dict(USER), made, result("toolu_1", "sun")]
        edit(history)
        last = await ask(server, history, stream=False)
        assert last["content"] == "Fine."
        bodies.append(turns_of(upstream.bodies[-1]))
        if kept:
            assert (len(set(sessions(upstream))) == 1) is is_kept
        await server.stop()
    # Only the ids may differ: the session keeps the model's own.
    old, new = (json.dumps(body, sort_keys=True) for body in bodies)
    assert old == new.replace("toolu1", "toolu_1")


@ensureDeferred
async def test_a_client_that_never_comes_back_costs_nothing(
    proxy: Start, upstream: Upstream
) -> None:
    """The process is gone after the limit, and the model has heard no more."""
    upstream.script(ONE)
    server = proxy(suspended_seconds=0.05)
    await ask(server, [USER], stream=False)
    pool = server.service._engine.backend._pool
    await until(lambda: pool._count() == 0)
    assert len(upstream.bodies) == 1


@ensureDeferred
async def test_who_waits_makes_room(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(ONE, answer("Another."), answer("Fine."))
    server = proxy(max_processes=1)
    made = await ask(server, [USER], stream=False)
    other = await ask(server, [{"role": "user", "content": "hello"}], stream=False)
    assert other["content"] == "Another."
    history = [USER, made, result("toolu_1", "sun")]
    assert (await ask(server, history, stream=False))["content"] == "Fine."
    assert len(set(sessions(upstream))) == 3
