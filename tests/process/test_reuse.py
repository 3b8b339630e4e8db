"""CLIs that do not bear it out that they can be used again, run as real children."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from tests.conftest import ExpectedErrors
from tests.process.conftest import FakeClaude
from tests.support.raw import connect, request
from tests.support.server import KEY, RunningProxy
from tests.support.waiting import until

Start = Callable[..., RunningProxy]
Fake = Callable[[str], FakeClaude]

LOOK: Any = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object"}},
}


def questions(claude: FakeClaude) -> int:
    """How often any of them was asked."""
    return sum(m["type"] == "user" and "shouldQuery" not in m for m in claude.sent)


def asked_for(claude: FakeClaude, subtype: str) -> int:
    """How often any of them was asked for something."""
    return sum(m.get("request", {}).get("subtype") == subtype for m in claude.sent)


async def said(server: RunningProxy, *messages: Any, **fields: Any) -> str:
    response = await server.chat(*messages, **fields)
    document = await response.json()
    assert response.code == 200, document
    text: str = document["choices"][0]["message"]["content"]
    return text


async def start(proxy: Start, claude: FakeClaude, **options: Any) -> RunningProxy:
    """A server that has looked at the CLI, and kept the one that it looked at."""
    about = {"claude_bin": claude.binary, "reuse": "rewind", "max_processes": 1}
    server = proxy(**{**about, **options})
    await server.ready()
    return server


@ensureDeferred
async def test_one_cli_for_all(proxy: Start, fake: Fake) -> None:
    claude = fake("answer")
    server = await start(proxy, claude)
    for words in ("one", "two", "three"):
        assert await said(server, words) == "fake answer"
    assert asked_for(claude, "rewind_conversation") == 2
    # The settings stay; the first look at the CLI was at another.
    assert asked_for(claude, "apply_flag_settings") == 1
    assert server.starts == 0
    await said(server, "four", max_tokens=5)
    assert asked_for(claude, "apply_flag_settings") == 2


@ensureDeferred
async def test_cli_that_does_not_rewind_is_replaced(proxy: Start, fake: Fake) -> None:
    claude = fake("stays")
    server = await start(proxy, claude)
    assert await said(server, "one") == "fake answer"
    assert await said(server, "two") == "fake answer"
    # The question was put once: a conversation that is not gone is never asked.
    assert questions(claude) == 2
    assert server.starts == 1


@ensureDeferred
async def test_clis_that_never_rewind_are_not_asked_to_for_ever(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("does not bear out")
    claude = fake("stays")
    server = await start(proxy, claude)
    for position in range(6):
        assert await said(server, str(position)) == "fake answer"
    assert asked_for(claude, "rewind_conversation") == 3
    assert questions(claude) == 6


@pytest.mark.parametrize(("scenario", "starts"), [("answer", 0), ("asks-no-tools", 1)])
@ensureDeferred
async def test_tools_are_changed(
    proxy: Start, fake: Fake, scenario: str, starts: int
) -> None:
    """By a CLI that then asks for them; any other is replaced."""
    claude = fake(scenario)
    server = await start(proxy, claude)
    assert await said(server, "one") == "fake answer"
    assert await said(server, "two", tools=[LOOK]) == "fake answer"
    assert asked_for(claude, "mcp_set_servers") == 1
    assert server.starts == starts


@ensureDeferred
async def test_cli_that_offers_other_tools_is_replaced(
    proxy: Start, fake: Fake
) -> None:
    """Nothing of its answer is told, and a new one's mistake is an error."""
    claude = fake("other-tools")
    server = await start(proxy, claude)
    response = await server.chat("one")
    assert response.code == 502
    assert "other tools" in (await response.json())["error"]["message"]


@pytest.mark.parametrize(("scenario", "starts"), [("holds", 0), ("holds-on", 1)])
@ensureDeferred
async def test_turn_is_taken_back_or_the_cli_ended(
    proxy: Start, fake: Fake, scenario: str, starts: int
) -> None:
    claude = fake(scenario)
    server = await start(proxy, claude)
    for position in range(2):
        client = await connect(reactor, server.number)
        body = b'{"stream": true, "messages": [{"role": "user", "content": "x"}]}'
        about = {"authorization": f"Bearer {KEY}"}
        client.send(request("POST", "/v1/chat/completions", body, **about))
        await client.expect(b"half")
        assert questions(claude) == position + 1
        client.abort()
    await until(lambda: asked_for(claude, "interrupt") == 2)
    await server.settled()
    assert server.starts == starts


@ensureDeferred
async def test_idle_cli_that_dies_is_replaced(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("ended unexpectedly")
    server = await start(proxy, fake("answer"), max_processes=8)
    assert await said(server, "one") == "fake answer"
    for cli in server.clis:
        cli.signalProcess("KILL")
    await until(lambda: server.processes == 0)
    assert await said(server, "two") == "fake answer"


@ensureDeferred
async def test_after_the_stop_nobody_looks_at_the_cli(
    proxy: Start, fake: Fake, expected_errors: ExpectedErrors
) -> None:
    """A client whose connection is still open may ask whether it is there."""
    expected_errors.allow("cannot be used now")
    claude = fake("refuses")
    server = await start(proxy, claude)
    await server.ready()
    await server.stop()
    before = asked_for(claude, "initialize")
    status = await server.service._engine.backend.status()
    assert not status.answers
    assert asked_for(claude, "initialize") == before


@ensureDeferred
async def test_spares_are_kept_and_replaced(proxy: Start, fake: Fake) -> None:
    server = await start(proxy, fake("answer"), max_processes=8, spares=2, reuse="off")
    await until(lambda: len(server.clis) == 2)
    before = {cli.pid for cli in server.clis}
    assert await said(server, "one") == "fake answer"
    await until(lambda: len(server.clis) == 2)
    assert len(before & {cli.pid for cli in server.clis}) == 1
