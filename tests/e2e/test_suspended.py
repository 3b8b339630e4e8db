"""Sessions that wait for results: to client and model the same as new ones."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.server.fake_upstream import Block, Reply, words
from tests.e2e.test_tools import TOOLS, call, calls, native, result, texts
from tests.support.loops import Client, Made, client
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Message = Mapping[str, Any]

USER = {"role": "user", "content": "How is the weather?"}
THINKING = Block(("Let me ", "see."), is_thinking=True, signature="ZGVtbw==")
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


FUNCTIONS = [tool["function"] for tool in TOOLS]
APIS = pytest.mark.parametrize(
    ("api", "stream"),
    [("chat", False), ("chat", True), ("responses", False), ("responses", True)],
)


async def ask(server: RunningProxy, messages: Sequence[Message]) -> dict[str, Any]:
    """The assistant's message."""
    response = await server.chat(*messages, tools=TOOLS)
    assert response.code == 200, await response.text()
    message: dict[str, Any] = (await response.json())["choices"][0]["message"]
    return message


def results_of(made: Sequence[Made]) -> list[tuple[str, str]]:
    """What the tools give back: the last call's first."""
    cities = [(call.id, json.loads(call.arguments)["city"]) for call in made]
    return [(identifier, f"fine in {city}") for identifier, city in cities[::-1]]


async def loop(program: Client) -> str:
    """The answer, when all calls have had their results."""
    while True:
        text, made = await program.answer()
        if not made:
            return text
        program.give(results_of(made))


@APIS
@ensureDeferred
async def test_five_rounds_are_one_session(
    proxy: Start, upstream: Upstream, api: str, stream: bool
) -> None:
    """And what goes upstream is what new sessions would send."""
    rounds = [
        calls(words("Once more."), call(f"toolu_{n}", "Paris"), call(f"t{n}", "Oslo"))
        for n in range(5)
    ]
    bodies = []
    for kept in (4, 0):
        upstream.bodies.clear()
        upstream.replies(*rounds, answer("All are fine."))
        server = proxy(max_suspended=kept, reuse="off")
        program = client(api, server, "hello", FUNCTIONS, stream=stream)
        assert await loop(program) == "All are fine."
        bodies.append([turns_of(body) for body in upstream.bodies])
        assert len(set(sessions(upstream))) == (1 if kept else 6)
        await server.stop()
    assert bodies[0] == bodies[1]
    assert [len(turns) for turns in bodies[0]] == [1, 3, 5, 7, 9, 11]
    _, first, results, *_ = bodies[0][-1]
    assert [block["type"] for block in first[1]] == ["text", "tool_use", "tool_use"]
    assert [block["content"] for block in results[1]] == [
        texts("fine in Paris"),
        texts("fine in Oslo"),
    ]


@APIS
@ensureDeferred
async def test_restart_between_call_and_result(
    proxy: Start, upstream: Upstream, api: str, stream: bool
) -> None:
    upstream.replies(TWO, answer("Fine."))
    before = proxy(fresh=True)
    program: Any = client(api, before, "hello", FUNCTIONS, stream=stream)
    _, made = await program.answer()
    await before.stop()
    program.give(results_of(made))
    program.server = proxy()
    assert await loop(program) == "Fine."
    assert len(set(sessions(upstream))) == 2
    assert [b["content"] for b in native(upstream.bodies[-1])[-1][1]] == [
        texts("fine in Paris"),
        texts("fine in Oslo"),
    ]


@APIS
@ensureDeferred
async def test_interleaved_clients_have_their_own(
    proxy: Start, upstream: Upstream, api: str, stream: bool
) -> None:
    def script(body: Mapping[str, Any]) -> Reply:
        city = native(body)[0][1][0]["text"]
        if len(native(body)) == 1:
            return calls(call("toolu_1", city))
        return answer(f"{native(body)[-1][1][0]['content'][0]['text']} there")

    upstream.script(script)
    server = proxy()
    programs = [
        client(api, server, city, FUNCTIONS, stream=stream)
        for city in ("Paris", "Oslo")
    ]
    for program in programs:
        _, made = await program.answer()
        program.give(results_of(made))
    found = [(await program.answer())[0] for program in programs]
    assert found == ["fine in Paris there", "fine in Oslo there"]
    assert len(set(sessions(upstream))) == 2


@ensureDeferred
async def test_thinking_is_given_back_to_a_new_session_too(
    proxy: Start, upstream: Upstream
) -> None:
    """By clients that carry it: here of Responses, sealed."""
    for kept in (4, 0):
        upstream.replies(ONE, answer("Fine."))
        server = proxy(max_suspended=kept, reuse="off")
        program = client("responses", server, "hello", FUNCTIONS, stream=True)
        assert await loop(program) == "Fine."
        _, (_, blocks), _ = native(upstream.bodies[-1])
        assert blocks[0]["thinking"] == "Let me see."
        assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]


test_thinking_is_given_back_to_a_new_session_too = pytest.mark.threads(
    test_thinking_is_given_back_to_a_new_session_too
)


@ensureDeferred
async def test_thinking_of_chat_completions_goes_back(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(ONE, answer("Fine."))
    server = proxy(max_suspended=0)
    made = await ask(server, [USER])
    assert made["reasoning_content"] == "Let me see."
    await ask(server, [USER, made, result("toolu_1", "sun")])
    # And from a client that lost the model's name.
    del made["reasoning_details"][0]["model"]
    await ask(server, [USER, made, result("toolu_1", "sun")])
    for body in upstream.bodies[1:]:
        _, (_, blocks), _ = native(body)
        assert blocks[0]["signature"] == "ZGVtbw=="


@ensureDeferred
async def test_thinking_stays_with_the_session(
    proxy: Start, upstream: Upstream
) -> None:
    """Though a client of chat completions does not give it back."""
    upstream.replies(ONE, answer("Fine."))
    program = client("chat", proxy(), "hello", FUNCTIONS, stream=True)
    assert await loop(program) == "Fine."
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
    made = await ask(server, [USER])
    results = [result("toolu_1", "sun")]
    response = await server.chat(USER, made, *results, tools=TOOLS)
    usage = (await response.json())["usage"]
    assert len(set(sessions(upstream))) == 1
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (16, 20)


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
    server = proxy()
    history: list[Any] = [dict(USER), await ask(server, [USER])]
    history.append(result("toolu_1", "sun"))
    edit(history)
    assert (await ask(server, history))["content"] == "Fine."
    assert (len(set(sessions(upstream))) == 1) is is_kept
    anew = proxy(max_suspended=0)
    assert (await ask(anew, history))["content"] == "Fine."
    bodies = [turns_of(body) for body in upstream.bodies[1:]]
    # Only the ids may differ: the session keeps the model's own.
    old, new = (json.dumps(body, sort_keys=True) for body in bodies)
    assert old == new.replace("toolu1", "toolu_1")


@ensureDeferred
async def test_a_client_that_never_comes_back_costs_nothing(
    proxy: Start, upstream: Upstream
) -> None:
    """The process is gone after the limit, and the model has heard no more."""
    upstream.script(ONE)
    server = proxy(suspended_seconds=0.05, reuse="off", spares=0)
    await ask(server, [USER])
    await until(lambda: server.processes == 0)
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize(("reuse", "clis"), [("off", 3), ("rewind", 1)])
@ensureDeferred
async def test_who_waits_makes_room(
    proxy: Start, upstream: Upstream, reuse: str, clis: int
) -> None:
    upstream.replies(ONE, answer("Another."), answer("Fine."))
    server = proxy(max_processes=1, reuse=reuse)
    made = await ask(server, [USER])
    other = await ask(server, [{"role": "user", "content": "hello"}])
    assert other["content"] == "Another."
    history = [USER, made, result("toolu_1", "sun")]
    assert (await ask(server, history))["content"] == "Fine."
    assert len(set(sessions(upstream))) == clis
