"""The answers to requests that need a behaviour which the CLI lacks.

`tests/integration/claude/installation/test_conformance.py` tests what a server reports
about each missing behaviour, and how a plain request is then sent.
"""

import json
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.claude.installation.contract import CONTRACT, Reaction
from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.conftest import ExpectedErrors
from tests.support.log_texts import OWN_REQUEST
from tests.support.raw import connect, request
from tests.support.server import KEY, RunningProxy, Upstream, answer, chat_body
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Case = Callable[[RunningProxy, Upstream], Coroutine[Any, Any, None]]

TOOL = {"type": "function", "function": {"name": "tool_1", "parameters": {}}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
FORM = {"name": "form", "strict": True, "schema": SCHEMA}
SOME = (words("one two three"),)


def calling(name: str) -> Reply:
    call = ScriptedBlock(('{"a": 1}',), tool_use=("toolu_1", name))
    return Reply(blocks=(call,), stop_reason="tool_use")


async def chat(server: RunningProxy, **fields: Any) -> tuple[int, Any]:
    response = await server.chat("hello", **fields)
    return response.code, await response.json()


async def is_replaced(server: RunningProxy) -> None:
    """The process is killed, and another one answers."""
    await until(lambda: server.processes == 0)
    assert (await chat(server))[0] == 200
    # The server started the first process to discover the CLI: it does not count.
    assert server.starts == 1


async def interrupt(server: RunningProxy, upstream: Upstream) -> None:
    upstream.replies(answer(hold_after=1, held=Deferred()), answer())
    client = await connect(reactor, server.number)
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(
        request("POST", "/v1/chat/completions", body, authorization=f"Bearer {KEY}")
    )
    await client.expect(b"one")
    client.abort()
    await is_replaced(server)


def ends(reply: Reply, reason: str) -> Case:
    async def case(server: RunningProxy, upstream: Upstream) -> None:
        upstream.replies(reply, answer("of its own"), answer())
        code, document = await chat(server)
        assert code == 200, document
        assert document["choices"][0]["finish_reason"] == reason
        assert "of its own" not in str(document)
        await is_replaced(server)

    return case


async def retries(server: RunningProxy, upstream: Upstream) -> None:
    """The answer is whole; a retry that is not announced cannot be reported."""
    overloaded = ("overloaded_error", "Overloaded")
    upstream.replies(Reply(status=529, error=overloaded), answer())
    code, document = await chat(server)
    assert (code, document["choices"][0]["message"]["content"]) == (
        200,
        "one two three",
    )


async def betas(server: RunningProxy, upstream: Upstream) -> None:
    """The provider's refusal is the client's."""
    refusal = ("invalid_request_error", "speed: Extra inputs are not permitted")
    upstream.script(Reply(status=400, error=refusal))
    code, document = await chat(server)
    assert (code, "Extra inputs" in document["error"]["message"]) == (400, True)


async def native_history(server: RunningProxy, upstream: Upstream) -> None:
    said = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    response = await server.chat(*said)
    error = (await response.json())["error"]
    assert (response.code, error["code"]) == (502, "claude_failed")
    assert "an answer to a turn of the history" in error["message"]


async def native_tools(server: RunningProxy, upstream: Upstream) -> None:
    """The client has the call by its own name."""
    upstream.script(calling("mcp__client__tool_1"))
    code, document = await chat(server, tools=[TOOL])
    [choice] = document["choices"]
    assert (code, choice["finish_reason"]) == (200, "tool_calls")
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "tool_1"


async def native_manifest(server: RunningProxy, upstream: Upstream) -> None:
    """The proxy answers the handshake."""
    upstream.script(calling("tool_1"))
    code, document = await chat(server, tools=[TOOL])
    assert (code, document["choices"][0]["finish_reason"]) == (200, "tool_calls")


async def native_schema(server: RunningProxy, upstream: Upstream) -> None:
    upstream.script(answer())
    form = {"type": "json_schema", "json_schema": FORM}
    code, document = await chat(server, response_format=form)
    assert (code, document["error"]["code"]) == (502, "schema_not_satisfied")


CASES: Mapping[str, Case] = {
    "interrupt": interrupt,
    "end_max_tokens": ends(Reply(blocks=SOME, stop_reason="max_tokens"), "length"),
    "end_refusal": ends(Reply(blocks=SOME, stop_reason="refusal"), "content_filter"),
    "end_empty": ends(Reply(), "stop"),
    "retries": retries,
    "betas": betas,
    "native_history": native_history,
    "native_tools": native_tools,
    "native_manifest": native_manifest,
    "native_schema": native_schema,
}


@pytest.mark.parametrize("name", CASES)
@ensureDeferred
async def test_a_request_that_needs_a_missing_behaviour(
    proxy: Start,
    merging: Callable[[str], Path],
    upstream: Upstream,
    expected_errors: ExpectedErrors,
    name: str,
) -> None:
    expected_errors.allow(OWN_REQUEST)
    compose = "native" if name.startswith("native") else "body"
    server = proxy(claude_bin=merging(f"lacks:{name}"), compose=compose)
    await server.ready()
    await CASES[name](server, upstream)


def test_each_behaviour_that_only_some_requests_need_has_a_case() -> None:
    """A plain request tests all other behaviours."""
    reactions = (Reaction.REPLACED, Reaction.FAILS)
    some = {each.name for each in CONTRACT if each.reaction in reactions}
    slow = {each.name for each in CONTRACT if not each.is_quick}
    assert some | slow == CASES.keys()
