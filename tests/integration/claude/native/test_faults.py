"""The results of a broken CLI in native mode, where they differ from the other.

Each request ends in a whole answer or an error that says what is wrong, the next
one works, and nothing is left running (the autouse fixture looks).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.claude.installation import conformance
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.log_texts import CLI_ENDED, RESULTS_UNREAD
from tests.support.server import RunningProxy
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Fake = Callable[[str], FakeClaude]


@pytest.fixture
def proxy(proxy: Start) -> Start:
    """Starts servers in native mode."""

    def start(**options: Any) -> RunningProxy:
        return proxy(**{"compose": "native", **options})

    return start


@ensureDeferred
async def test_a_cli_that_turned_old_is_given_nothing(proxy: Start, fake: Fake) -> None:
    """The examined binary was replaced by one that does not report its version."""
    claude = fake("turned-ancient")
    server = proxy(claude_bin=claude.binary)
    system = {"role": "system", "content": "a secret"}
    response = await server.chat(system, "another secret")
    error = (await response.json())["error"]
    assert (response.code, error["code"]) == (503, "claude_unavailable")
    assert "needs 2.1.251" in error["message"]
    assert b"secret" not in claude.log.read_bytes()


@ensureDeferred
async def test_cli_that_is_removed_is_told(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected_errors.allow("no new CLI process can be started")
    # Without this, requests wait, because an update may be under way.
    monkeypatch.setattr(conformance, "_UPDATE_SECONDS", 0.3)
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary)
    assert (await server.chat("hello")).code == 200
    claude.binary.unlink()
    response = await server.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (503, "claude_unavailable")


@ensureDeferred
async def test_children_of_the_cli_die_with_the_request(
    proxy: Start, fake: Fake
) -> None:
    claude = fake("children")
    server = proxy(claude_bin=claude.binary, silence_timeout=0.3, agent_tools=("Bash",))
    before = _sleepers()
    response = await server.chat("hello", stream=True)
    text = await response.text()
    assert "children" in text
    await server.stop()
    await until(lambda: _sleepers() == before)


def _sleepers() -> set[int]:
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _command(entry) == b"sleep\x001000\0"
    }


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@ensureDeferred
async def test_what_the_cli_is_told(proxy: Start, fake: Fake) -> None:
    claude = fake("answer")
    server = proxy(claude_bin=claude.binary)
    assert (await server.get("/v1/models")).code == 200
    response = await server.chat(
        {"role": "system", "content": "Be brief."}, "hello", model="opus"
    )
    assert response.code == 200
    assert await response.json()
    initialize, flags, user = claude.sent[-3:]
    assert initialize["request"]["systemPrompt"] == ["Be brief."]
    assert flags["request"]["settings"] == {
        "model": "opus",
        "effortLevel": None,
        "env": {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": None, "CLAUDE_CODE_EXTRA_BODY": None},
    }
    assert user["client_composed"] is True
    assert user["message"]["content"] == [{"type": "text", "text": "hello"}]


# Processes that are lost, and those that wait for the results of calls.


@ensureDeferred
async def test_process_that_dies_before_it_answers_is_replaced(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(CLI_ENDED)
    claude = fake("dies-once")
    server = proxy(claude_bin=claude.binary)
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fake answer"
    asked = [line for line in claude.sent if line["type"] == "user"]
    assert len(asked) == 2


TOOLS = [{"type": "function", "function": {"name": "look"}}]
USER = {"role": "user", "content": "hello"}


async def called(server: RunningProxy) -> list[Any]:
    """The history after a call, with its result."""
    document = await (await server.chat(USER, tools=TOOLS)).json()
    message = document["choices"][0]["message"]
    assert message["tool_calls"][0]["id"] == "toolu_1"
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "blue"}
    return [USER, message, result]


def starts(claude: FakeClaude) -> int:
    """How many processes were started, for whatever."""
    return sum("initialize" in str(line) for line in claude.sent)


@pytest.mark.parametrize("scenario", ["calls-dies", "calls-goes-on"])
@ensureDeferred
async def test_session_that_did_not_wait_is_given_up(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors, scenario: str
) -> None:
    """And the result is for a new one."""
    expected_errors.allow(CLI_ENDED)
    expected_errors.allow(RESULTS_UNREAD)
    claude = fake(scenario)
    server = proxy(claude_bin=claude.binary, agent_tools=("Read",))
    await server.ready()
    before = starts(claude)
    history = await called(server)
    await until(lambda: server.processes == 0)
    document = await (await server.chat(*history, tools=TOOLS)).json()
    assert document["choices"][0]["message"]["tool_calls"]
    assert starts(claude) == before + 2


@ensureDeferred
async def test_result_that_comes_before_it_is_asked_for(
    proxy: Start, fake: Fake
) -> None:
    """What the CLI still says of the call is no answer."""
    claude = fake("calls-late")
    server = proxy(claude_bin=claude.binary, agent_tools=("Read",))
    await server.ready()
    before = starts(claude)
    history = await called(server)
    assert server.backend.session_counts()["suspended"] == 1
    document = await (await server.chat(*history, tools=TOOLS)).json()
    [choice] = document["choices"]
    assert choice["message"]["content"] == (
        '3 {"content": [{"type": "text", "text": "blue"}], "isError": false}'
    )
    assert starts(claude) == before + 1


@ensureDeferred
async def test_process_waits_only_behind_calls_of_its_own(
    proxy: Start, fake: Fake
) -> None:
    """Without any, a new one is told the history."""
    claude = fake("calls-only")
    server = proxy(claude_bin=claude.binary)
    await server.ready()
    before = starts(claude)
    history = await called(server)
    await until(lambda: server.processes == 0)
    await server.chat(*history, tools=TOOLS)
    assert starts(claude) == before + 2


@ensureDeferred
async def test_stop_ends_a_session_that_waits(proxy: Start, fake: Fake) -> None:
    server = proxy(claude_bin=fake("calls").binary, agent_tools=("Read",))
    await called(server)
    assert server.backend.session_counts()["suspended"] == 1
    await server.stop()
    assert server.processes == 0
