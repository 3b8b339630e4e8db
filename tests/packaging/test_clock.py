"""A change of the system clock neither ends an answer nor lets it run for ever."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture
from tests.packaging.commands import Running
from tests.support.raw import RawClient, connect, request
from tests.support.server import chat_body

# The server, with a time of day that is a file's number of seconds off.
PROGRAM = """
import pathlib, sys, time
steps, real = pathlib.Path(sys.argv.pop()), time.time
time.time = lambda: real() + float(steps.read_text() or 0)
from ccproxy.cli.main import main
main()
"""


async def ask(server: Running) -> RawClient:
    url = await server.url()
    client: RawClient = await connect(reactor, int(url.rpartition(":")[2]))
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(request("POST", "/chat/completions", body, authorization="Bearer k"))
    return client


@ensureDeferred
async def test_clock_that_is_set_ends_no_answer_and_stops_no_limit(
    tmp_path: Path,
    start: Callable[..., Running],
    fake: Callable[[str], FakeClaude],
) -> None:
    steps, claude = tmp_path / "steps", fake("waits-for-file")
    steps.write_text("0")
    server = start(
        *(sys.executable, "-c", PROGRAM, "-p", "0", "--silence-timeout", "3"),
        str(steps),
        PROXY_API_KEY="k",
        CLAUDE_BIN=str(claude.binary),
    )
    client = await ask(server)
    await client.expect(b"fake ")
    steps.write_text("86400")
    # By then every timer has been looked at.
    other: RawClient = await connect(reactor, client.transport.getPeer().port)
    for _ in range(2):
        other.received = b""
        other.send(request("GET", "/health"))
        await other.expect(b"ok")
    assert b"error" not in client.received
    Path(f"{claude.log}.go").touch()
    await client.expect(b"data: [DONE]")
    Path(f"{claude.log}.go").unlink()
    client.received = b""
    client.abort()

    client = await ask(server)
    await client.expect(b"fake ")
    steps.write_text("-86400")
    await client.expect(b"the answer stopped for 3 s")
    client.abort()
    other.abort()
