"""Claude Code's own tools, where the operator allows some, on the real CLI."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.chunks import chunks_of, text_of
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.spec import (
    chunk_errors,
    document_errors,
    response_errors,
    response_event_errors,
)
from tests.support.tool_calls import TOOLS, call, calls, native
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

SHARED = {"agent_tools": ("Read",)}


def own(name: str, **arguments: Any) -> ScriptedBlock:
    """A call of a tool of Claude Code's own."""
    return ScriptedBlock((json.dumps(arguments),), tool_use=("toolu_own", name))


def reading(path: Path) -> Reply:
    return calls(words("Let me read."), own("Read", file_path=str(path)))


@ensureDeferred
async def test_tools_run_within_the_turn(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """All text is told."""
    note = tmp_path / "note.txt"
    note.write_text("the secret word")
    upstream.replies(reading(note), answer(" It says so."))
    response = await proxy(agent_tools=("Read",)).chat("hello", stream=True)
    chunks = chunks_of(await response.text())
    assert text_of(chunks) == "Let me read. It says so."
    assert not [c for c in chunks if "reasoning_content" in c["choices"][0]["delta"]]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    first, second = upstream.bodies
    assert [tool["name"] for tool in first["tools"]] == ["Read"]
    assert "the secret word" in json.dumps(native(second)[-1])


@ensureDeferred
async def test_use_is_told_where_it_is_asked_for(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    path = tmp_path / "none"
    line = f'[Read {{"file_path": "{path}"}}]\n'
    upstream.replies(reading(path), answer("No."))
    server = proxy(agent_tools=("Read",), show_agent_tools=True)
    document = await (await server.chat("hello")).json()
    assert document_errors(document) == []
    assert document["choices"][0]["message"]["reasoning_content"] == line
    # The usage is the sum of both requests.
    assert document["usage"]["completion_tokens"] == 40
    assert document["usage"]["prompt_tokens"] == 32
    upstream.replies(reading(path), answer("No."))
    chunks = chunks_of(await (await server.chat("hello", stream=True)).text())
    assert [error for chunk in chunks for error in chunk_errors(chunk)] == []
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [d["reasoning_content"] for d in deltas if "reasoning_content" in d] == [
        line
    ]


@ensureDeferred
async def test_search_is_an_item_in_responses(proxy: Start, upstream: Upstream) -> None:
    """The client's web_search is Claude Code's WebSearch."""

    def script(body: Mapping[str, Any]) -> Reply:
        if any("web_search" in str(tool.get("type")) for tool in body["tools"]):
            return answer("Found nothing.")
        if len(native(body)) > 1:
            return answer("There is nothing.")
        return calls(own("WebSearch", query="the weather"))

    upstream.script(script)
    server = proxy(agent_tools=("WebSearch",), show_agent_tools=True)
    body = {"input": "hello", "tools": [{"type": "web_search"}], "stream": True}
    response = await server.post("/v1/responses", body)
    assert not response.headers.hasHeader("x-ccproxy-ignored")
    told = [json.loads(data) for data in events(await response.text())[:-1]]
    assert [error for event in told for error in response_event_errors(event)] == []
    document = told[-1]["response"]
    assert response_errors(document) == []
    search, message = document["output"]
    assert search["type"] == "web_search_call"
    assert search["action"] == {"type": "search", "query": "the weather"}
    assert message["content"][0]["text"] == "There is nothing."


@ensureDeferred
async def test_search_that_is_not_allowed_is_named(
    proxy: Start, upstream: Upstream
) -> None:
    body = {"input": "hello", "tools": [{"type": "web_search"}]}
    response = await proxy().post("/v1/responses", body)
    assert response.headers.getRawHeaders("x-ccproxy-ignored") == ["tools[0]"]
    assert upstream.bodies[0]["tools"] == []


@ensureDeferred
async def test_tool_of_the_same_name_is_the_clients(
    proxy: Start, upstream: Upstream
) -> None:
    """Claude Code must not read our file in its place."""
    reply = calls(own("Read", file_path="/etc/hostname"))
    upstream.replies(reply, answer("Fine."))
    tool = {"type": "function", "function": {"name": "Read"}}
    server = proxy(agent_tools=("Read", "Glob"))
    document = await (await server.chat("hello", tools=[tool])).json()
    [choice] = document["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "Read"
    [body] = upstream.bodies
    assert [tool["name"] for tool in body["tools"]] == ["Glob", "Read"]
    assert body["tools"][1]["input_schema"]["properties"] == {}


@ensureDeferred
async def test_own_and_the_clients_tools_in_one_turn(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """The client sees its calls only, and the session keeps the rest."""
    upstream.replies(
        reading(tmp_path / "none"), calls(call("toolu_1", "Paris")), answer("Warm.")
    )
    server = proxy(agent_tools=("Read",))
    document = await (await server.chat("hello", tools=TOOLS)).json()
    message = document["choices"][0]["message"]
    assert [c["id"] for c in message["tool_calls"]] == ["toolu_1"]
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"}
    history = [{"role": "user", "content": "hello"}, message, result]
    document = await (await server.chat(*history, tools=TOOLS)).json()
    assert document["choices"][0]["message"]["content"] == "Warm."
    assert len(native(upstream.bodies[-1])) == 5


@ensureDeferred
async def test_a_tool_that_needs_leave_is_denied_at_once(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """Nobody is there who could say yes."""
    target = tmp_path / "new"
    reply = calls(own("Write", file_path=str(target), content="x"))
    upstream.replies(reply, answer("I may not."))
    document = await (await proxy(agent_tools=("Read",)).chat("hello")).json()
    assert document["choices"][0]["message"]["content"] == "I may not."
    assert not target.exists()


@ensureDeferred
async def test_own_calls_stay_behind_two_rounds_of_the_clients(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """One process has the whole loop; a new one would not know what it has read."""
    upstream.replies(
        reading(tmp_path / "none"),
        calls(call("toolu_1", "Paris")),
        calls(call("toolu_2", "Oslo")),
        answer("Warm."),
    )
    server = proxy(agent_tools=("Read",))
    history: list[Any] = [{"role": "user", "content": "hello"}]
    for identifier in ("toolu_1", "toolu_2"):
        document = await (await server.chat(*history, tools=TOOLS)).json()
        message = document["choices"][0]["message"]
        assert [c["id"] for c in message["tool_calls"]] == [identifier]
        result = {"role": "tool", "tool_call_id": identifier, "content": "warm"}
        history += [message, result]
    document = await (await server.chat(*history, tools=TOOLS)).json()
    assert document["choices"][0]["message"]["content"] == "Warm."
    ids = {json.loads(b["metadata"]["user_id"])["session_id"] for b in upstream.bodies}
    assert len(ids) == 1
    kinds = [[b["type"] for b in blocks] for _, blocks in native(upstream.bodies[-1])]
    assert kinds == [
        ["text"],
        ["text", "tool_use"],
        ["tool_result"],
        ["tool_use"],
        ["tool_result"],
        ["tool_use"],
        ["tool_result"],
    ]
    await until(lambda: server.processes == 0)


@ensureDeferred
async def test_session_that_waits_makes_room(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """Its result is then for a new one, which is told what the client knows."""
    upstream.replies(
        reading(tmp_path / "none"),
        calls(call("toolu_1", "Paris")),
        answer("Another."),
        answer("Fine."),
    )
    server = proxy(agent_tools=("Read",), max_processes=1)
    user = {"role": "user", "content": "hello"}
    made = await (await server.chat(user, tools=TOOLS)).json()
    other = await (await server.chat("other")).json()
    assert other["choices"][0]["message"]["content"] == "Another."
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"}
    history = [user, made["choices"][0]["message"], result]
    document = await (await server.chat(*history, tools=TOOLS)).json()
    assert document["choices"][0]["message"]["content"] == "Fine."
    assert len(native(upstream.bodies[-1])) == 3
