"""Claude Code as the client of the proxy, whose answers come from another CLI."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from ccproxy.claude.installation.contract import is_newer
from ccproxy.claude.process.binary import find_claude
from ccproxy.server.scripted_reply import Reply, ScriptedBlock
from tests.support.server import KEY, RunningProxy, Upstream, answer

Start = Callable[..., RunningProxy]

pytestmark = pytest.mark.threads

LIMIT_SECONDS = 60
_SUPPORT = Path(__file__).parent.parent / "support"
MCP_SERVER = _SUPPORT / "mcp_stdio_server.py"
SDK_CLIENT = _SUPPORT / "agent_sdk_client.py"


# With it, Claude Code asks for the models, and keeps them below `.claude`.
DISCOVERY = "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"


def environment(server: RunningProxy, home: Path) -> Mapping[str, str]:
    return {
        DISCOVERY: "1",
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }


async def run(
    claude: Path, server: RunningProxy, folder: Path, *arguments: str
) -> Mapping[str, Any]:
    """What ``claude -p`` says at the end."""
    command = [str(claude), "-p", *arguments, "--output-format", "json"]
    return await run_program(command, server, folder)


async def run_program(
    command: Sequence[str], server: RunningProxy, folder: Path
) -> Mapping[str, Any]:
    """The JSON object that a client prints, or the last in the list that it prints."""
    home, work = folder / "theirs", folder / "work"
    home.mkdir()
    work.mkdir(exist_ok=True)

    def ask() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=work,
            env=environment(server, home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    done = await deferToThread(ask)
    assert done.stdout, done.stderr
    found: Any = json.loads(done.stdout)
    last: Mapping[str, Any] = found[-1] if isinstance(found, list) else found
    return last


@ensureDeferred
async def test_hello(
    proxy: Start, upstream: Upstream, claude: Path, tmp_path: Path
) -> None:
    result = await run(claude, proxy(), tmp_path, "hello", "--model", "opus")
    assert (result["is_error"], result["result"]) == (False, "one two three")
    assert result["usage"]["output_tokens"] == 20
    [body] = [b for b in upstream.bodies if b.get("tools")]
    assert {"Read", "Bash", "Edit"} <= {tool["name"] for tool in body["tools"]}
    assert body["model"].startswith("claude-opus")
    # Whom it asks for is said once, by the CLI that asks.
    texts = [block["text"] for block in body["system"]]
    assert [text.startswith("x-anthropic-billing-header") for text in texts] == [
        *(True, False, False),
    ]
    assert body["max_tokens"] > 1000


@ensureDeferred
async def test_a_tool_of_its_own(
    proxy: Start, upstream: Upstream, claude: Path, tmp_path: Path
) -> None:
    file = tmp_path / "work" / "note.txt"
    file.parent.mkdir()
    file.write_text("the cat is out\n")

    def script(body: Mapping[str, Any]) -> Reply:
        if "the cat is out" in json.dumps(body["messages"]):
            return answer("It says that the cat is out.")
        call = ScriptedBlock(
            (json.dumps({"file_path": str(file)}),), tool_use=("toolu_1", "Read")
        )
        return Reply(blocks=(call,), stop_reason="tool_use")

    upstream.script(script)
    result = await run(claude, proxy(), tmp_path, "What does note.txt say?")
    assert result["result"] == "It says that the cat is out."
    assert result["is_error"] is False
    assert result["num_turns"] == 2
    last = [m for m in upstream.bodies[-1]["messages"] if m["role"] == "user"][-1]
    [block] = [b for b in last["content"] if b["type"] == "tool_result"]
    assert block["tool_use_id"] == "toolu_1"
    assert "the cat is out" in json.dumps(block["content"])


@ensureDeferred
async def test_tools_of_an_mcp_server(
    proxy: Start, upstream: Upstream, claude: Path, tmp_path: Path
) -> None:
    """A task that needs two of its tools: one's result is the other's argument."""
    price, times = "mcp__shop__price_of", "mcp__shop__times"

    def script(body: Mapping[str, Any]) -> Reply:
        text = json.dumps(body["messages"])
        if "105" in text:
            return answer("Three apples are 105 cents.")
        if "35 cents" in text:
            return _calling("toolu_2", times, {"a": 35, "b": 3})
        return _calling("toolu_1", price, {"fruit": "apple"})

    upstream.script(script)
    server = {"command": sys.executable, "args": [str(MCP_SERVER)]}
    config = json.dumps({"mcpServers": {"shop": server}})
    result = await run(
        *(claude, proxy(), tmp_path, "What are three apples?"),
        *("--mcp-config", config, "--strict-mcp-config"),
        *("--allowedTools", f"{price},{times}"),
    )
    assert (result["is_error"], result["num_turns"]) == (False, 3)
    assert result["result"] == "Three apples are 105 cents."
    last = upstream.bodies[-1]["messages"]
    blocks = [b for m in last if isinstance(m["content"], list) for b in m["content"]]
    results = [b for b in blocks if b["type"] == "tool_result"]
    assert [b["tool_use_id"] for b in results] == ["toolu_1", "toolu_2"]
    calls = [b for b in blocks if b["type"] == "tool_use"]
    assert [(b["name"], b["input"]) for b in calls] == [
        (price, {"fruit": "apple"}),
        (times, {"a": 35, "b": 3}),
    ]


@ensureDeferred
async def test_the_agent_sdk_with_a_tool_of_its_own(
    proxy: Start, upstream: Upstream, tmp_path: Path
) -> None:
    """Its MCP server is in the SDK's process; the model has to search for the tool."""
    # An SDK works with the CLI in its own wheel.
    claude = find_claude(None, "")
    price = "mcp__shop__price_of"

    def script(body: Mapping[str, Any]) -> Reply:
        if "35 cents" in json.dumps(body["messages"]):
            return answer("An apple is 35 cents.")
        if "tool_reference" in json.dumps(body["messages"]):
            return _calling("toolu_2", price, {"fruit": "apple"})
        return _calling("toolu_1", "ToolSearch", {"query": f"select:{price}"})

    upstream.script(script)
    command = [sys.executable, str(SDK_CLIENT), str(claude), "What is an apple?"]
    result = await run_program(command, proxy(), tmp_path)
    assert result == {
        "result": "An apple is 35 cents.",
        "is_error": False,
        "num_turns": 3,
    }
    body = upstream.bodies[-1]
    assert "You sell fruit." in body["system"][2]["text"]
    [offered] = [tool for tool in body["tools"] if tool["name"] == price]
    assert offered["defer_loading"] is True
    assert offered["description"] == "The price of a fruit, in cents."
    assert offered["input_schema"]["properties"] == {"fruit": {"type": "string"}}
    found, call, result_turn = body["messages"][-3:]
    assert found["content"][0]["content"] == [
        {"type": "tool_reference", "tool_name": price}
    ]
    [used] = [block for block in call["content"] if block["type"] == "tool_use"]
    assert (used["name"], used["input"]) == (price, {"fruit": "apple"})
    [told] = [b for b in result_turn["content"] if b["type"] == "tool_result"]
    assert told["content"] == [{"type": "text", "text": "35 cents"}]


def _calling(identifier: str, name: str, arguments: Mapping[str, Any]) -> Reply:
    call = ScriptedBlock((json.dumps(arguments),), tool_use=(identifier, name))
    return Reply(blocks=(call,), stop_reason="tool_use")


@ensureDeferred
async def test_its_context_is_counted(
    proxy: Start, upstream: Upstream, claude: Path, tmp_path: Path
) -> None:
    upstream.api.count_tokens = lambda _: 1234
    result = await run(claude, proxy(), tmp_path, "/context", "--model", "opus")
    assert result["is_error"] is False
    # Its own parts were counted, one by one, without a question.
    [row] = [
        x for x in result["result"].splitlines() if x.startswith("| System prompt")
    ]
    assert re.search(r"\d+(\.\d)?k", row), row
    # Some older versions estimate by themselves.
    models = {count.body["model"] for count in upstream.counts}
    assert all(model.startswith("claude-opus") for model in models)
    assert upstream.bodies == []


@ensureDeferred
async def test_the_models_are_found(proxy: Start, claude: Path, tmp_path: Path) -> None:
    version = subprocess.run(
        [claude, "--version"], check=True, capture_output=True, text=True
    ).stdout
    if is_newer("2.1.257", version):
        pytest.skip("2.1.252 and older do not ask for the list of models")
    await run(claude, proxy(), tmp_path, "/context", "--model", "opus")
    kept = (tmp_path / "theirs" / ".claude").rglob("*models*.json")
    [models] = [json.loads(file.read_text()) for file in kept]
    assert "claude-opus" in json.dumps(models)


@ensureDeferred
async def test_a_wrong_key_is_told(proxy: Start, claude: Path, tmp_path: Path) -> None:
    server = proxy(fresh=True, api_keys=("another",))
    result = await run(claude, server, tmp_path, "hello")
    assert result["is_error"] is True
    assert result["api_error_status"] == 401
    assert "PROXY_API_KEY" in result["result"]
