"""A server without file descriptors sheds load, and serves again when it has some."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture
from tests.packaging.commands import CCPROXY, Running
from tests.support.invariant import End, Outcome, outcome_of
from tests.support.raw import RawClient, connect, request
from tests.support.server import chat_body
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="limits of others are Linux's"
)


def highest_descriptor(server: Running) -> int:
    folder = Path(f"/proc/{server.transport.pid}/fd")
    return max(int(entry.name) for entry in folder.iterdir())


def limit(server: Running, count: int | None) -> None:
    """Let a server have descriptors up to a number; None: as many as it may."""
    pid = server.transport.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = hard if count is None else count
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


async def open_client(server: Running) -> RawClient:
    url = await server.url()
    client: RawClient = await connect(reactor, int(url.rpartition(":")[2]))
    return client


async def ask(client: RawClient) -> Outcome:
    body = json.dumps(chat_body("hello")).encode()
    about = {"authorization": "Bearer k", "connection": "close"}
    client.send(request("POST", "/chat/completions", body, **about))
    head, _, rest = (await client.lost()).partition(b"\r\n\r\n")
    return outcome_of(int(head.split()[1]), rest.decode(), stream=False)


@ensureDeferred
async def test_without_descriptors_load_is_shed(
    start: Callable[..., Running], fake: Callable[[str], FakeClaude]
) -> None:
    server = start(
        CCPROXY,
        *("-p", "0", "--spares", "0", "--reuse", "off"),
        PROXY_API_KEY="k",
        CLAUDE_BIN=str(fake("answer").binary),
    )
    assert (await ask(await open_client(server))).end is End.COMPLETE
    client = await open_client(server)
    client.send(request("GET", "/health"))
    await client.expect(b"ok")
    limit(server, highest_descriptor(server) + 3)
    # Clients take what there is; then they are turned away.
    clients: list[RawClient] = []
    while not any(one.is_lost for one in clients):
        assert len(clients) < 100
        clients.append(await open_client(server))
        for _ in range(20):
            await deferLater(reactor, 0)
    # Who is there already is told: there are no pipes for a CLI.
    client.received = b""
    outcome = await ask(client)
    assert (outcome.status, outcome.end) == (503, End.ERROR)
    assert outcome.error is not None
    assert outcome.error["code"] == "overloaded"
    assert "Too many open files" in outcome.error["message"]
    for one in clients:
        one.abort()
    limit(server, None)
    assert (await ask(await open_client(server))).end is End.COMPLETE
    await server.stop()
    await until(lambda: server.is_over)
    assert "Traceback" not in server.output
