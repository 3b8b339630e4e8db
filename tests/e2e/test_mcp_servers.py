"""MCP servers of the operator's, on the real CLI, with a server of the tests'."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from ccproxy.claude.worker.context import CLIContext
from ccproxy.cli.doctor.mcp import examine_servers
from ccproxy.cli.doctor.results import CheckStatus
from ccproxy.config.settings import Settings
from ccproxy.server.runtime import Runtime
from ccproxy.server.scripted_reply import Reply, ScriptedBlock
from tests.conftest import ExpectedErrors
from tests.support.server import RunningProxy, Upstream, answer
from tests.support.tool_calls import calls, native

Start = Callable[..., RunningProxy]

_SUPPORT = Path(__file__).parents[1] / "support"
_REACTOR: Any = reactor
_SET: Mapping[str, Any] = {
    "mcp_config": _SUPPORT / "mcp_servers.json",
    "environment": {
        "PYTHON": sys.executable,
        "SHOP": str(_SUPPORT / "mcp_stdio_server.py"),
    },
}
SHARED = {**_SET, "agent_tools": ("mcp__shop", "Glob"), "show_agent_tools": True}
PRODUCT = "mcp__shop__times"
PRICE = "mcp__shop__price_of"


def call(name: str = PRODUCT, **arguments: int) -> Reply:
    identifier = f"toolu_{len(arguments)}"
    block = ScriptedBlock((json.dumps(arguments),), tool_use=(identifier, name))
    return calls(block)


def offered(body: Any) -> list[str]:
    return [tool["name"] for tool in body["tools"]]


@ensureDeferred
async def test_a_server_whose_tools_are_all_on(
    proxy: Start, upstream: Upstream
) -> None:
    """A server that --agent-tools does not name is not started."""
    upstream.replies(call(a=6, b=7), answer("42."))
    document = await (await proxy(**SHARED).chat("6 times 7?")).json()
    message = document["choices"][0]["message"]
    assert message["content"] == "42."
    assert message["reasoning_content"] == f'[{PRODUCT} {{"a": 6, "b": 7}}]\n'
    assert "tool_calls" not in message
    first, second = upstream.bodies
    assert offered(first) == ["Glob", PRICE, PRODUCT]
    [result] = native(second)[-1][1]
    assert result["content"][0]["text"] == "42"


@ensureDeferred
async def test_a_tool_that_is_off_is_not_shown_and_not_run(
    proxy: Start,
    upstream: Upstream,
    expected_errors: ExpectedErrors,
) -> None:
    """A server that fails is in the log."""
    expected_errors.allow("the model does not have the tools of the MCP server broken")
    upstream.replies(call(PRICE), call(a=2, b=3), answer("6."))
    server = proxy(**_SET, agent_tools=(PRODUCT, "mcp__broken__any"))
    document = await (await server.chat("2 times 3?")).json()
    assert document["choices"][0]["message"]["content"] == "6."
    assert [offered(body) for body in upstream.bodies] == [[PRODUCT]] * 3
    _, refused, done = [native(body)[-1][1][-1] for body in upstream.bodies]
    assert refused["is_error"]
    assert done["content"][0]["text"] == "6"


@ensureDeferred
async def test_a_clients_tool_with_such_a_name_turns_the_server_off(
    proxy: Start, upstream: Upstream
) -> None:
    """A client such as Claude Code may have a server of the same name."""
    upstream.replies(call(PRODUCT, a=6, b=7))
    tool = {"type": "function", "function": {"name": PRODUCT}}
    document = await (await proxy(**SHARED).chat("hello", tools=[tool])).json()
    [made] = document["choices"][0]["message"]["tool_calls"]
    assert made["function"]["name"] == PRODUCT
    assert [offered(body) for body in upstream.bodies] == [["Glob", PRODUCT]]


@ensureDeferred
async def test_the_doctor_connects_to_each_server(claude: Path, tmp_path: Path) -> None:
    tools = (PRICE, "mcp__broken", "mcp__shop__tims")
    settings = Settings(
        api_keys=("key",),
        claude_bin=claude,
        agent_tools=tools,
        mcp_config=_SET["mcp_config"],
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **_SET["environment"],
    }
    runtime = Runtime(settings, reactor, environment)
    runtime.open()
    context = CLIContext(
        spawner=_REACTOR, clock=_REACTOR, wall_seconds=time.time, limits=settings
    )
    told = [r async for r in examine_servers(runtime.native(), context)]
    await runtime.close()
    shop, broken = told
    assert (shop.status, broken.status) == (CheckStatus.WRONG, CheckStatus.WRONG)
    assert "the server shop has no tool mcp__shop__tims" in shop.message
    assert shop.remedy == f"its tools are: {PRICE}, {PRODUCT}"
    assert "cannot connect to the server broken" in broken.message
