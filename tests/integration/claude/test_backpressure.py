"""A client that does not read pauses the CLI, and costs no memory."""

import json
from collections.abc import Callable
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.integration.claude.conftest import FakeClaude
from tests.support.children import processes_of
from tests.support.raw import connect, request
from tests.support.server import KEY, RunningProxy, chat_body
from tests.support.waiting import until


def written_by(pid: int) -> int:
    """How many bytes a process has written so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


@ensureDeferred
async def test_slow_reader_blocks_the_child(
    proxy: Callable[..., RunningProxy], fake: Callable[[str], FakeClaude]
) -> None:
    claude = fake("flood")
    server = proxy(claude_bin=claude.binary)
    assert (await server.get("/v1/models")).code == 200
    await server.idle()
    client = await connect(reactor, server.number)
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(
        request("POST", "/chat/completions", body, authorization=f"Bearer {KEY}")
    )
    await client.expect(b"xxx")
    [pid] = processes_of(claude.log)
    client.transport.pauseProducing()

    seen: list[int] = []

    def stands_still() -> bool:
        seen.append(written_by(pid))
        return len(seen) > 40 and len(set(seen[-40:])) == 1

    await until(stands_still)
    # What the kernel's buffers hold, and not a byte that we would have to.
    assert seen[-1] < 64 * 2**20
    received = len(client.received)
    client.transport.resumeProducing()
    await until(lambda: written_by(pid) > seen[-1] + 2**20)
    assert len(client.received) > received
    client.abort()
    await until(lambda: not processes_of(claude.log))


@ensureDeferred
async def test_slow_reader_is_no_silence(
    proxy: Callable[..., RunningProxy], fake: Callable[[str], FakeClaude]
) -> None:
    claude = fake("flood")
    server = proxy(claude_bin=claude.binary, silence_timeout=0.8)
    client = await connect(reactor, server.number)
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(
        request("POST", "/chat/completions", body, authorization=f"Bearer {KEY}")
    )
    await client.expect(b"xxx")
    client.transport.pauseProducing()
    await deferLater(reactor, 1.5)  # longer than the limit: the time is what is tested
    received = len(client.received)
    client.transport.resumeProducing()
    await until(lambda: len(client.received) > received + 2**23)
    assert b"timeout" not in client.received
    client.abort()
    await until(lambda: not processes_of(claude.log))
