"""Clients from PyPI run a tool loop, configured as their pages in docs/clients say.

Each runs as a program of its own: it has its own event loop, and its own ideas of
warnings. Those that are not installed (the extra ``clients``) are skipped.
"""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.utils import getProcessOutputAndValue

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.conftest import ExpectedErrors
from tests.support.pages import PAGE_KEY, PAGE_URL, blocks
from tests.support.server import KEY, RunningProxy, Upstream

Start = Callable[..., RunningProxy]

pytestmark = [pytest.mark.clients, pytest.mark.threads]

# Nobody listens there: what a client wants of the internet fails at once.
_NOWHERE = "http://127.0.0.1:9"
_CITY = ('{"city": ', '"Oslo"}')


@pytest.fixture(autouse=True)
def busy_machine(expected_errors: ExpectedErrors) -> None:
    """A spare may need more than its three seconds; a request starts another."""
    expected_errors.allow("no claude CLI can be kept ready")


def weather(body: Mapping[str, Any]) -> Reply:
    """Call the tool if there is one; then say what it said."""
    results = [b for b in _blocks(body) if b["type"] == "tool_result"]
    if results:
        # A result of one text is sent as a string.
        return Reply(blocks=(words(f"The tool says: {results[-1]['content']}."),))
    if not body.get("tools"):
        return Reply(blocks=(words("Paris, of course."),))
    called = ScriptedBlock(_CITY, tool_use=("toolu_1", "get_weather"))
    return Reply(blocks=(words("Let me look."), called), stop_reason="tool_use")


def _blocks(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    contents = [message["content"] for message in body["messages"]]
    return [block for c in contents if not isinstance(c, str) for block in c]


def environment(home: Path) -> Mapping[str, str]:
    """That of a user who reaches nothing but this machine."""
    outside = {f"{scheme}_proxy": _NOWHERE for scheme in ("http", "https", "all")}
    return {
        **outside,
        "no_proxy": "127.0.0.1",
        "HOME": str(home),
        "LLM_USER_PATH": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


async def run(home: Path, *command: str) -> str:
    """What a program prints that has to succeed."""
    program, *arguments = command
    out, err, status = await getProcessOutputAndValue(
        program, arguments, env=environment(home), path=str(home)
    )
    assert status == 0, err.decode()
    text: str = out.decode()
    return text


def filled_in(code: str, server: RunningProxy) -> str:
    """What a page says, for a server that is elsewhere and has another key."""
    assert PAGE_URL in code or PAGE_KEY in code
    return code.replace(PAGE_URL, server.url).replace(PAGE_KEY, KEY)


def check_round(upstream: Upstream) -> None:
    """The tool, its call and its result were native."""
    body = upstream.bodies[-1]
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    used = [b for b in _blocks(body) if b["type"] in ("tool_use", "tool_result")]
    call, result = used
    assert (call["name"], call["input"]) == ("get_weather", {"city": "Oslo"})
    assert call["id"] == result["tool_use_id"] == "toolu_1"


def installed(module: str, *values: str) -> Any:
    """Parameters of a test that needs a client."""
    missing = find_spec(module) is None
    skip = pytest.mark.skipif(missing, reason="the extra `clients` is not installed")
    return pytest.param(*values, marks=skip)


@pytest.mark.parametrize(
    "page",
    [
        installed("agent_framework", "agent-framework"),
        installed("agents", "openai-agents"),
        installed("chatlas", "chatlas"),
        installed("langchain_openai", "langchain"),
        installed("pydantic_ai", "pydantic-ai"),
        installed("litellm", "litellm"),
    ],
)
@ensureDeferred
async def test_program_of_the_page(
    proxy: Start, upstream: Upstream, tmp_path: Path, page: str
) -> None:
    upstream.script(weather)
    [code] = blocks(page, "python")
    program = tmp_path / "program.py"
    program.write_text(filled_in(code, proxy()))
    text = await run(tmp_path, sys.executable, str(program))
    assert "Let me look." in text
    assert "The tool says: rain in Oslo." in text
    check_round(upstream)


@pytest.mark.parametrize("page", [installed("llm", "llm")])
@ensureDeferred
async def test_commands_of_the_page(
    proxy: Start, upstream: Upstream, tmp_path: Path, page: str
) -> None:
    upstream.script(weather)
    server = proxy()
    [configuration] = blocks(page, "yaml")
    [commands] = blocks(page, "sh")
    models = tmp_path / "extra-openai-models.yaml"
    models.write_text(filled_in(configuration, server))
    # llm reads what is piped into it.
    script = f"exec </dev/null\n{filled_in(commands, server)}"
    text = await run(tmp_path, "/bin/sh", "-ec", script)
    assert "Paris, of course." in text
    assert "The tool says: rain in Oslo." in text
    check_round(upstream)
