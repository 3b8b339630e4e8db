"""Tool loops: the model gets what the client means, whatever process answers.

The thinking of the model stays in its conversation, also where the client drops it; a
result finds its call after a restart, and when the client has changed ids. No process
waits for a result. The Messages API behind is as strict as the provider.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.loops import Client, Made, client
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.tool_calls import TOOLS, call, calls, native

Start = Callable[..., RunningProxy]
Message = dict[str, Any]

USER = {"role": "user", "content": "How is the weather?"}
# The scripted API signs it, for what stands before it.
THINKING = ScriptedBlock(("Let me ", "see."), is_thinking=True)
HIDDEN = ScriptedBlock(is_thinking=True, redacted="aGlkZGVu")
ONE = calls(THINKING, words("Let me look."), call("toolu_1", "Paris"))
TWO = calls(call("toolu_2", "Paris"), call("toolu_3", "Oslo"))
FUNCTIONS = [tool["function"] for tool in TOOLS]

APIS = pytest.mark.parametrize(
    ("api", "stream"),
    [("chat", False), ("chat", True), ("responses", False), ("responses", True)],
)
# A restart is the same for a stream and a document; each takes two servers.
EACH_API = pytest.mark.parametrize(
    ("api", "stream"), [("chat", True), ("responses", False)]
)
pytestmark = pytest.mark.threads


@pytest.fixture(autouse=True)
def _nothing_was_refused(upstream: Upstream) -> Any:
    """Every body was one that the provider takes, the thinking in it included."""
    yield
    assert upstream.violations == []


def kinds(turn: tuple[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    return [block["type"] for block in turn[1]]


def results_of(made: Sequence[Made]) -> list[tuple[str, str]]:
    """What the tools give back: the last call's first."""
    cities = [(one.id, json.loads(one.arguments)["city"]) for one in made]
    return [(identifier, f"fine in {city}") for identifier, city in cities[::-1]]


async def loop(program: Client) -> str:
    """The answer, when all calls have had their results."""
    while True:
        text, made = await program.answer()
        if not made:
            return text
        program.give(results_of(made))


async def ask(server: RunningProxy, messages: Sequence[Message]) -> Message:
    """The assistant's message."""
    response = await server.chat(*messages, tools=TOOLS)
    assert response.code == 200, await response.text()
    message: Message = (await response.json())["choices"][0]["message"]
    return message


def result(identifier: str, content: Any, **fields: Any) -> Message:
    return {"role": "tool", "tool_call_id": identifier, "content": content, **fields}


def use(identifier: str, city: str) -> Message:
    about = {"type": "tool_use", "id": identifier, "name": "get_weather"}
    return {**about, "input": {"city": city}}


def given(identifier: str, content: Any) -> Message:
    return {"type": "tool_result", "tool_use_id": identifier, "content": content}


# Whole loops


@APIS
@ensureDeferred
async def test_five_rounds(
    proxy: Start, upstream: Upstream, api: str, stream: bool
) -> None:
    """Each request has all of the loop, in the order of the calls."""
    rounds = [
        calls(words("Once more."), call(f"toolu_{n}", "Paris"), call(f"t{n}", "Oslo"))
        for n in range(5)
    ]
    upstream.replies(*rounds, answer("All are fine."))
    program = client(api, proxy(), "hello", FUNCTIONS, stream=stream)
    assert await loop(program) == "All are fine."
    turns = [native(body) for body in upstream.bodies]
    assert [len(told) for told in turns] == [1, 3, 5, 7, 9, 11]
    expected: list[Any] = [("user", [{"type": "text", "text": "hello"}])]
    for n in range(5):
        said = [{"type": "text", "text": "Once more."}]
        said += [use(f"toolu_{n}", "Paris"), use(f"t{n}", "Oslo")]
        expected.append(("assistant", said))
        made = [(f"t{n}", "fine in Oslo"), (f"toolu_{n}", "fine in Paris")]
        expected.append(("user", [given(*one) for one in made]))
        assert without_forms(turns[n + 1]) == expected


def without_forms(turns: Sequence[tuple[str, Sequence[Message]]]) -> list[Any]:
    """The turns with results as texts, whichever of two forms they have."""
    return [
        (role, [{**b, "content": text_of(b)} if "content" in b else b for b in blocks])
        for role, blocks in turns
    ]


def text_of(block: Mapping[str, Any]) -> str:
    content = block["content"]
    return content if isinstance(content, str) else "".join(b["text"] for b in content)


@EACH_API
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
    assert without_forms(native(upstream.bodies[-1])) == [
        ("user", [{"type": "text", "text": "hello"}]),
        ("assistant", [use("toolu_2", "Paris"), use("toolu_3", "Oslo")]),
        (
            "user",
            [given("toolu_3", "fine in Oslo"), given("toolu_2", "fine in Paris")],
        ),
    ]


@APIS
@ensureDeferred
async def test_interleaved_clients_have_their_own(
    proxy: Start, upstream: Upstream, api: str, stream: bool
) -> None:
    def script(body: Mapping[str, Any]) -> Reply:
        turns = without_forms(native(body))
        if len(turns) == 1:
            return calls(THINKING, call("toolu_1", turns[0][1][0]["text"]))
        return answer(f"{turns[-1][1][0]['content']} there")

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


@ensureDeferred
async def test_many_open_loops_keep_no_process(
    proxy: Start, upstream: Upstream
) -> None:
    """And each result finds its own thinking."""

    def script(body: Mapping[str, Any]) -> Reply:
        turns = native(body)
        if len(turns) == 1:
            return calls(THINKING, call("toolu_1", turns[0][1][0]["text"]))
        return answer(f"{kinds(turns[1])[0]} {turns[1][1][-1]['input']['city']}")

    upstream.script(script)
    server = proxy(max_processes=2)
    programs = [
        client("chat", server, f"city {n}", FUNCTIONS, stream=False) for n in range(12)
    ]
    for program in programs:
        _, made = await program.answer()
        program.give(results_of(made))
    assert server.processes <= 2
    for n, program in enumerate(programs):
        assert (await program.answer())[0] == f"thinking city {n}"


# Thinking


@APIS
@ensureDeferred
async def test_thinking_stays_in_the_conversation(
    proxy: Start, upstream: Upstream, api: str, stream: bool
) -> None:
    """A client of streamed chat completions drops it; others give it back."""
    upstream.replies(
        ONE,
        calls(THINKING, HIDDEN, call("toolu_2", "Oslo")),
        answer("Fine."),
    )
    program = client(api, proxy(), "hello", FUNCTIONS, stream=stream)
    assert await loop(program) == "Fine."
    _, first, _, second, _ = native(upstream.bodies[-1])
    assert kinds(first) == ["thinking", "text", "tool_use"]
    assert first[1][0]["thinking"] == "Let me see."
    assert first[1][0]["signature"]
    assert kinds(second) == ["thinking", "redacted_thinking", "tool_use"]


@EACH_API
@ensureDeferred
async def test_thinking_after_a_restart(
    proxy: Start, upstream: Upstream, tmp_path: Path, api: str, stream: bool
) -> None:
    """Whether the client gives it back or not: the store has it."""
    upstream.replies(ONE, answer("Fine."))
    before = proxy(state_dir=tmp_path / "state")
    program: Any = client(api, before, "hello", FUNCTIONS, stream=stream)
    _, made = await program.answer()
    await before.stop()
    program.give(results_of(made))
    program.server = proxy(state_dir=tmp_path / "state")
    assert await loop(program) == "Fine."
    said = native(upstream.bodies[-1])[1]
    assert kinds(said) == ["thinking", "text", "tool_use"]


@ensureDeferred
async def test_thinking_of_chat_completions_goes_back(
    proxy: Start, upstream: Upstream
) -> None:
    """By `reasoning_details`, also to another server; once it does not fit, not."""
    upstream.replies(ONE, answer("Fine."))
    before = proxy(fresh=True)
    made = await ask(before, [USER])
    assert made["reasoning_content"] == "Let me see."
    await before.stop()
    server = proxy(fresh=True)
    history = [USER, made, result("toolu_1", "sun")]
    await ask(server, history)
    # What stands before it is another question now.
    await ask(server, [{**USER, "content": "How warm is it?"}, *history[1:]])
    same, other = [native(body)[1] for body in upstream.bodies[1:]]
    assert kinds(same) == ["thinking", "text", "tool_use"]
    assert kinds(other) == ["text", "tool_use"]


@ensureDeferred
async def test_thinking_of_another_conversation_is_not_taken(
    proxy: Start, upstream: Upstream
) -> None:
    """Though its answer has the same words and the same ids."""
    upstream.script(ONE)
    server = proxy()
    made = [await ask(server, [{**USER, "content": text}]) for text in ("a", "b")]
    for message in made:
        del message["reasoning_content"], message["reasoning_details"]
    upstream.script(answer("Fine."))
    for text in ("a", "b", "c"):
        question = {**USER, "content": text}
        await ask(server, [question, made[0], result("toolu_1", "sun")])
    found = [native(body)[1][1][0] for body in upstream.bodies[2:]]
    assert [block["type"] for block in found] == ["thinking", "thinking", "text"]
    assert found[0]["signature"] != found[1]["signature"]


@ensureDeferred
async def test_thinking_of_another_client_is_not_taken(
    proxy: Start, upstream: Upstream
) -> None:
    keys = ("test-key", "another-key")
    server = proxy(api_keys=keys)
    upstream.script(ONE)
    made = await ask(server, [USER])
    del made["reasoning_content"], made["reasoning_details"]
    upstream.script(answer("Fine."))
    body = {"messages": [USER, made, result("toolu_1", "sun")], "tools": TOOLS}
    for key in keys:
        about = {"authorization": f"Bearer {key}"}
        response = await server.post("/v1/chat/completions", body, headers=about)
        assert response.code == 200
    own, others = [native(body)[1] for body in upstream.bodies[1:]]
    assert kinds(own) == ["thinking", "text", "tool_use"]
    assert kinds(others) == ["text", "tool_use"]


# What clients do with a call and its result


Edit = Callable[[list[Message]], None]


def edited(**changes: Any) -> Edit:
    def edit(history: list[Message]) -> None:
        history[-1].update(changes)

    return edit


def with_text(history: list[Message]) -> None:
    history.append({"role": "user", "content": "and hurry"})


def with_other_call(history: list[Message]) -> None:
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"city": "Oslo"}'


def with_other_words(history: list[Message]) -> None:
    history[1]["content"] = "Let me think."


def with_other_question(history: list[Message]) -> None:
    history[0] = {"role": "user", "content": "How warm is it?"}


def with_stripped_ids(history: list[Message]) -> None:
    """As OpenClaw does it."""
    history[1]["tool_calls"][0]["id"] = "toolu1"
    history[2]["tool_call_id"] = "toolu1"


def with_other_spaces(history: list[Message]) -> None:
    """As LangChain does it."""
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"city":"Paris"}'


IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
IMAGE_BLOCK = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": IMAGE.partition(",")[2],
    },
}
TEXT_A = {"type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("edit", "keeps_thinking", "content"),
    [
        (with_stripped_ids, True, "sun"),
        (with_other_spaces, True, "sun"),
        (edited(content="boom"), True, "boom"),
        (edited(content=[TEXT_A]), True, [TEXT_A]),
        (
            edited(content=[{"type": "image_url", "image_url": {"url": IMAGE}}]),
            True,
            [IMAGE_BLOCK],
        ),
        (edited(content="x" * 60_000), True, "x" * 60_000),
        (with_text, True, "sun"),
        (with_other_call, False, "sun"),
        (with_other_words, False, "sun"),
        (with_other_question, False, "sun"),
    ],
)
@ensureDeferred
async def test_what_comes_back_is_shown_as_it_is(
    proxy: Start, upstream: Upstream, edit: Edit, keeps_thinking: bool, content: Any
) -> None:
    """With the model's own message where the client's says the same."""
    upstream.replies(ONE, answer("Fine."))
    server = proxy()
    made = await ask(server, [USER])
    del made["reasoning_content"], made["reasoning_details"]
    history: list[Message] = [dict(USER), made, result("toolu_1", "sun")]
    edit(history)
    assert (await ask(server, history))["content"] == "Fine."
    _, said, (role, results) = native(upstream.bodies[-1])
    assert kinds(said) == [*["thinking"] * keeps_thinking, "text", "tool_use"]
    told = history[1]
    assert said[1][-2]["text"] == told["content"]
    arguments = told["tool_calls"][0]["function"]["arguments"]
    assert said[1][-1]["input"] == json.loads(arguments)
    assert role == "user"
    assert results[0]["tool_use_id"] == said[1][-1]["id"]
    wanted = [{"type": "text", "text": content}]
    assert results[0]["content"] in (content, wanted)
    assert [block["text"] for block in results[1:]] == [
        message["content"] for message in history[3:]
    ]


@pytest.mark.parametrize("content", ["", " \n"])
@ensureDeferred
async def test_result_without_words(
    proxy: Start, upstream: Upstream, content: str
) -> None:
    upstream.replies(ONE, answer("Fine."))
    server = proxy()
    made = await ask(server, [USER])
    history = [USER, made, result("toolu_1", content)]
    assert (await ask(server, history))["content"] == "Fine."
    [block] = native(upstream.bodies[-1])[-1][1]
    assert block["tool_use_id"] == "toolu_1"


@ensureDeferred
async def test_usage_is_of_the_request_alone(proxy: Start, upstream: Upstream) -> None:
    upstream.replies(ONE, answer("Fine."))
    server = proxy()
    made = await ask(server, [USER])
    response = await server.chat(USER, made, result("toolu_1", "sun"), tools=TOOLS)
    usage = (await response.json())["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (16, 20)


@ensureDeferred
async def test_a_client_that_never_comes_back_costs_nothing(
    proxy: Start, upstream: Upstream
) -> None:
    """The model is asked once, and the process is free for the next question."""
    server = proxy(max_processes=1)
    upstream.replies(ONE, answer("Another."))
    await ask(server, [USER])
    other = await ask(server, [{"role": "user", "content": "hello"}])
    assert other["content"] == "Another."
    assert len(upstream.bodies) == 2
    assert server.backend.session_counts()["suspended"] == 0
