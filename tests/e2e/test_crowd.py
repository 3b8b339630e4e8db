"""Many conversations with tools at once, on few processes that come and go.

``CCPROXY_CROWD=60`` has sixty on four processes.
"""

import os
from collections.abc import Callable

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.conftest import ExpectedErrors
from tests.support.crowd import Conversation, Havoc, own_name, script
from tests.support.log_texts import CLI_ENDED, FEWER_SPARES, IGNORES_SIGTERM
from tests.support.server import RunningProxy, Upstream

Start = Callable[..., RunningProxy]

CROWD = int(os.environ.get("CCPROXY_CROWD", "12"))
CALLS = 2
PROCESSES = 2 if CROWD < 30 else 4


async def run_all(conversations: list[Conversation]) -> None:
    """Run them at once."""
    running = [Deferred.fromCoroutine(c.run()) for c in conversations]
    await gatherResults(running, consumeErrors=True)


@ensureDeferred
async def test_none_crosses_another(proxy: Start, upstream: Upstream) -> None:
    upstream.api.script = script
    server = proxy(max_processes=PROCESSES, max_queue=CROWD)
    await server.ready()
    crowd = [Conversation(server, str(n), CALLS) for n in range(CROWD)]
    await run_all(crowd)
    # One request upstream for each that a client sent, and none of anybody else's.
    asked = [own_name(body) for body in upstream.bodies]
    assert sorted(asked) == sorted(c.name for c in crowd for _ in range(CALLS + 1))
    assert all(c.tries == CALLS + 1 for c in crowd)
    assert server.starts <= PROCESSES + 1


@ensureDeferred
async def test_none_crosses_another_while_processes_are_killed_and_stopped(
    proxy: Start, upstream: Upstream, expected_errors: ExpectedErrors
) -> None:
    for words in (CLI_ENDED, FEWER_SPARES, IGNORES_SIGTERM):
        expected_errors.allow(words)
    upstream.api.script = script
    server = proxy(
        max_processes=PROCESSES,
        max_queue=CROWD,
        first_token_timeout=10.0,
        silence_timeout=2.0,
    )
    await server.ready()
    crowd = [Conversation(server, str(n), CALLS) for n in range(CROWD)]
    havoc = Havoc(server, seed=7, seconds=0.3, most=CROWD // 2)
    havoc.start()
    try:
        await run_all(crowd)
    finally:
        havoc.end()
    assert havoc.killed
    assert havoc.stopped
    names = {own_name(body) for body in upstream.bodies}
    assert names == {c.name for c in crowd}
    await server.settled()
    assert server.processes <= PROCESSES
