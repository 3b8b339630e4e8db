"""Claude Code as the client of the proxy, whose answers come from another CLI."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from ccproxy.server.fake_upstream import Reply, ScriptedBlock
from tests.support.server import KEY, RunningProxy, Upstream, answer

Start = Callable[..., RunningProxy]

pytestmark = pytest.mark.threads

LIMIT_SECONDS = 60


def environment(server: RunningProxy, home: Path) -> Mapping[str, str]:
    return {
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
    home, work = folder / "theirs", folder / "work"
    home.mkdir()
    work.mkdir(exist_ok=True)

    def ask() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(claude), "-p", *arguments, "--output-format", "json"],
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
async def test_a_wrong_key_is_told(proxy: Start, claude: Path, tmp_path: Path) -> None:
    server = proxy(fresh=True, api_keys=("another",))
    result = await run(claude, server, tmp_path, "hello")
    assert result["is_error"] is True
    assert result["api_error_status"] == 401
    assert "PROXY_API_KEY" in result["result"]
