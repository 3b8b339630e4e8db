"""The model's own messages come back to it unchanged, on the real CLI.

The scripted API signs each block of thinking and refuses it behind anything but what
it was made behind, so whatever is put back wrongly is a 400 here.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.conftest import ExpectedErrors
from tests.integration.store.conftest import cluster as cluster
from tests.integration.store.conftest import run_sql
from tests.support.log_texts import DATABASE_FAILED
from tests.support.mutations import WEATHER
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.tool_calls import TOOLS, call, calls, native

Start = Callable[..., RunningProxy]
Messages = list[dict[str, Any]]
Edit = Callable[[Messages], None]

USER = {"role": "user", "content": "How is the weather?"}
FIRST = calls(
    ScriptedBlock(("I need ", "the tool."), is_thinking=True),
    words("Let me look."),
    ScriptedBlock(("And now.",), is_thinking=True),
    call("toolu_1", "Paris"),
)
SECOND = calls(
    ScriptedBlock(("Oslo, too.",), is_thinking=True), call("toolu_2", "Oslo")
)
KINDS = ["thinking", "text", "thinking", "tool_use"]


async def ask(server: RunningProxy, messages: Messages, **fields: Any) -> Any:
    body = {"tools": TOOLS, **fields}
    response = await server.chat(*copy.deepcopy(messages), **body)
    document = await response.json()
    assert response.code == 200, document
    message = document["choices"][0]["message"]
    # As the clients do that know of no thinking.
    message.pop("reasoning_content", None)
    message.pop("reasoning_details", None)
    return message


def result(identifier: str, content: str = "sun") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def kinds(body: Any, number: int) -> list[str]:
    return [block["type"] for block in native(body)[number][1]]


def as_it_is(history: Messages) -> None:
    """Nothing is changed."""


def with_stripped_ids(history: Messages) -> None:
    """As OpenClaw does it."""
    history[1]["tool_calls"][0]["id"] = "toolu1"
    history[2]["tool_call_id"] = "toolu1"


def with_other_spaces(history: Messages) -> None:
    """As LangChain does it."""
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"city":"Paris"}'


def with_more_text(history: Messages) -> None:
    history.append({"role": "user", "content": "and hurry"})


@pytest.mark.parametrize(
    "edit", [as_it_is, with_stripped_ids, with_other_spaces, with_more_text]
)
@ensureDeferred
async def test_thinking_comes_back(
    proxy: Start, upstream: Upstream, edit: Edit
) -> None:
    upstream.replies(FIRST, answer("Fine."))
    server = proxy()
    made = await ask(server, [USER])
    history = [USER, made, result("toolu_1")]
    edit(history)
    assert (await ask(server, history))["content"] == "Fine."
    _, body = upstream.bodies
    assert kinds(body, 1) == KINDS
    [told, *_] = native(body)[2][1]
    assert told["tool_use_id"] == "toolu_1"


@ensureDeferred
async def test_functions_without_ids_find_their_thinking(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(FIRST, answer("Fine."))
    server = proxy()
    fields = {"tools": None, "functions": [tool["function"] for tool in TOOLS]}
    made = await ask(server, [USER], **fields)
    told = {"role": "function", "name": "get_weather", "content": "sun"}
    assert (await ask(server, [USER, made, told], **fields))["content"] == "Fine."
    assert kinds(upstream.bodies[1], 1) == KINDS


@ensureDeferred
async def test_thinking_stays_through_a_whole_loop_and_behind_it(
    proxy: Start, upstream: Upstream
) -> None:
    upstream.replies(FIRST, SECOND, answer("Both fine."), answer("You are welcome."))
    server = proxy()
    history: Messages = [USER]
    for identifier in ("toolu_1", "toolu_2"):
        history += [await ask(server, history), result(identifier)]
    history += [await ask(server, history), {"role": "user", "content": "Thanks."}]
    assert (await ask(server, history))["content"] == "You are welcome."
    body = upstream.bodies[-1]
    assert kinds(body, 1) == KINDS
    assert kinds(body, 3) == ["thinking", "tool_use"]
    assert len(upstream.bodies) == 4


def with_another_question(history: Messages) -> None:
    history[0] = {"role": "user", "content": "How warm is it?"}


def with_another_prompt(history: Messages) -> None:
    history.insert(0, {"role": "system", "content": "Be brief."})


def with_another_call(history: Messages) -> None:
    history[1]["tool_calls"][0]["function"]["arguments"] = '{"city": "Oslo"}'


def with_another_text(history: Messages) -> None:
    history[1]["content"] = "Let me think."


@pytest.mark.parametrize(
    "edit",
    [
        with_another_question,
        with_another_prompt,
        with_another_call,
        with_another_text,
    ],
)
@ensureDeferred
async def test_nothing_comes_back_that_does_not_fit(
    proxy: Start, upstream: Upstream, edit: Edit
) -> None:
    upstream.replies(FIRST, answer("Fine."))
    server = proxy()
    history = [USER, await ask(server, [USER]), result("toolu_1")]
    edit(history)
    assert (await ask(server, history))["content"] == "Fine."
    # The provider was asked once: nothing was refused.
    assert len(upstream.bodies) == 2
    assert kinds(upstream.bodies[1], 1) == ["text", "tool_use"]


@ensureDeferred
async def test_thinking_that_is_bound_elsewhere_is_left_out_in_a_second_try(
    proxy: Start, upstream: Upstream
) -> None:
    """A client of the Messages API sends thinking itself, and changes the prefix."""
    upstream.replies(
        Reply(blocks=(ScriptedBlock(("Hm.",), is_thinking=True), words("Hello!"))),
        answer("Fine."),
    )
    server = proxy()
    body: dict[str, Any] = {
        "model": "sonnet",
        "max_tokens": 1000,
        "messages": [USER],
        "thinking": {"type": "adaptive", "display": "summarized"},
    }
    made = await (await server.post("/v1/messages", body)).json()
    assert [block["type"] for block in made["content"]] == ["thinking", "text"]
    turns = [
        {"role": "user", "content": "Something else"},
        {"role": "assistant", "content": made["content"]},
        {"role": "user", "content": "And now?"},
    ]
    response = await server.post("/v1/messages", {**body, "messages": turns})
    document = await response.json()
    assert response.code == 200, document
    assert json.dumps(document["content"]).count("Fine.") == 1
    assert kinds(upstream.bodies[-1], 1) == ["text"]
    assert any(v.rule == 25 for v in upstream.violations)


# In the store: other servers know it


PLAIN = ["text", "tool_use"]


@pytest.mark.threads
@pytest.mark.parametrize(
    ("remember", "found"), [("store", KINDS), ("memory", PLAIN), ("off", PLAIN)]
)
@ensureDeferred
async def test_thinking_comes_back_after_a_restart(
    proxy: Start, upstream: Upstream, tmp_path: Path, remember: str, found: list[str]
) -> None:
    upstream.replies(FIRST, SECOND, answer("Both fine."))
    settings: dict[str, Any] = {"state_dir": tmp_path / "state", "remember": remember}
    history: Messages = [USER]
    for identifier in ("toolu_1", "toolu_2"):
        server = proxy(**settings)
        history += [await ask(server, history), result(identifier)]
        await server.stop()
    server = proxy(**settings)
    assert (await ask(server, history))["content"] == "Both fine."
    assert upstream.violations == []
    body = upstream.bodies[-1]
    assert kinds(body, 1) == found
    assert kinds(body, 3) == found[:1] * (remember == "store") + ["tool_use"]


@pytest.mark.threads
@ensureDeferred
async def test_servers_of_one_database_know_each_others_answers(
    proxy: Start, upstream: Upstream, cluster: str
) -> None:
    run_sql(cluster.format("postgres"), "CREATE DATABASE remembered")
    upstream.replies(FIRST, SECOND, answer("Both fine."))
    url = cluster.format("remembered")
    one, two = [proxy(database_url=url) for _ in range(2)]
    history: Messages = [USER]
    for server, identifier in ((one, "toolu_1"), (two, "toolu_2")):
        history += [await ask(server, history), result(identifier)]
        # It is written behind the answer, within a moment.
        await written(server)
    assert (await ask(one, history))["content"] == "Both fine."
    assert upstream.violations == []
    assert kinds(upstream.bodies[-1], 1) == KINDS
    assert kinds(upstream.bodies[-1], 3) == ["thinking", "tool_use"]


async def written(server: RunningProxy) -> None:
    writing = server.service._proxy.store.answers._writing
    if writing is not None:
        await writing


SECRET = calls(
    ScriptedBlock(("SECRET thought",), is_thinking=True),
    words("SECRET word"),
    call("toolu_secret", "SECRETCITY"),
)
FUNCTION = {"type": "function", **WEATHER}


@pytest.mark.threads
@pytest.mark.parametrize("stores", [False, True])
@ensureDeferred
async def test_what_is_not_to_be_stored_is_on_no_disk(
    proxy: Start, upstream: Upstream, tmp_path: Path, stores: bool
) -> None:
    """The same process still knows it."""
    upstream.replies(SECRET, answer("Fine."))
    state = tmp_path / "state"
    server = proxy(state_dir=state)
    body: dict[str, Any] = {"tools": [FUNCTION], "store": stores}
    asked = {"role": "user", "content": "hello"}
    made = await (await server.post("/v1/responses", {**body, "input": [asked]})).json()
    items = [item for item in made["output"] if item["type"] != "reasoning"]
    told = {"type": "function_call_output", "call_id": items[-1]["call_id"]}
    history = [asked, *items, {**told, "output": "sun"}]
    await (await server.post("/v1/responses", {**body, "input": history})).json()
    assert kinds(upstream.bodies[-1], 1) == ["thinking", *PLAIN]
    await server.stop()
    written = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    words = (b"SECRET", b"toolu_secret")
    assert [word in written for word in words] == [stores, stores]


@pytest.mark.threads
@ensureDeferred
async def test_a_store_that_fails_holds_up_no_answer(
    proxy: Start, upstream: Upstream, tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    for allowed in (DATABASE_FAILED, "the database is not", "be stored"):
        expected_errors.allow(allowed)
    upstream.replies(FIRST, answer("Fine."))
    (tmp_path / "state").write_text("no folder")
    server = proxy(state_dir=tmp_path / "state")
    history = [USER, await ask(server, [USER]), result("toolu_1")]
    assert (await ask(server, history))["content"] == "Fine."
    assert kinds(upstream.bodies[-1], 1) == KINDS
