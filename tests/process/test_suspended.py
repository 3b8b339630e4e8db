"""A CLI that should wait for the results of its calls, and does otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.conftest import ExpectedErrors
from tests.process.conftest import FakeClaude
from tests.support.server import RunningProxy
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Fake = Callable[[str], FakeClaude]

TOOLS = [{"type": "function", "function": {"name": "look"}}]
USER = {"role": "user", "content": "hello"}


async def called(server: RunningProxy) -> list[Any]:
    """The history after a call, with its result."""
    document = await (await server.chat(USER, tools=TOOLS)).json()
    message = document["choices"][0]["message"]
    assert message["tool_calls"][0]["id"] == "toolu_1"
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "blue"}
    return [USER, message, result]


@pytest.mark.parametrize("scenario", ["calls-dies", "calls-goes-on"])
@ensureDeferred
async def test_session_that_did_not_wait_is_given_up(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors, scenario: str
) -> None:
    """And the result is for a new one."""
    expected_errors.allow("ended unexpectedly")
    expected_errors.allow("did not wait for the results")
    claude = fake(scenario)
    server = proxy(claude_bin=claude.binary)
    history = await called(server)
    await until(lambda: server.processes == 0)
    document = await (await server.chat(*history, tools=TOOLS)).json()
    assert document["choices"][0]["message"]["tool_calls"]
    starts = [line for line in claude.sent if "initialize" in str(line)]
    # The first look, and one for each question.
    assert len(starts) == 3


@ensureDeferred
async def test_result_that_comes_before_it_is_asked_for(
    proxy: Start, fake: Fake
) -> None:
    """What the CLI still says of the call is no answer."""
    server = proxy(claude_bin=fake("calls-late").binary)
    history = await called(server)
    document = await (await server.chat(*history, tools=TOOLS)).json()
    [choice] = document["choices"]
    assert choice["message"]["content"] == (
        '3 {"content": [{"type": "text", "text": "blue"}], "isError": false}'
    )


@ensureDeferred
async def test_stop_ends_a_session_that_waits(proxy: Start, fake: Fake) -> None:
    server = proxy(claude_bin=fake("calls").binary)
    await called(server)
    assert server.processes == 1
    await server.stop()
    assert server.processes == 0
