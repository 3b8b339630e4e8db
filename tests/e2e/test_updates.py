"""The real CLI is updated under a running server: another version, by a link."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.waiting import until

NEWER = os.environ.get("CCPROXY_NEWER_CLAUDE")


@pytest.mark.skipif(NEWER is None, reason="CCPROXY_NEWER_CLAUDE names no other CLI")
@pytest.mark.parametrize("how", ["a link is moved", "the file is replaced"])
@ensureDeferred
async def test_no_request_fails(
    proxy: Callable[..., RunningProxy],
    upstream: Upstream,
    claude: Path,
    tmp_path: Path,
    how: str,
) -> None:
    binary, young = tmp_path / "claude", tmp_path / "claude.new"

    def install(version: Path) -> None:
        if how == "a link is moved":
            young.symlink_to(version)
        else:
            young.write_bytes(version.read_bytes())
            young.chmod(0o755)
        young.rename(binary)

    install(claude.resolve())
    held: Deferred[None] = Deferred()

    def script(body: Any) -> Any:
        is_long = "a long one" in repr(body["messages"])
        return answer(hold_after=1, held=held) if is_long else answer()

    upstream.script(script)
    server = proxy(
        claude_bin=binary, compose="auto", spares=1, max_processes=3, fresh=True
    )
    await server.examined()
    conformance = server.backend._conformance
    before = conformance.binary
    long = await server.chat("a long one", stream=True)
    codes: list[int] = []
    is_over = False

    async def client() -> None:
        while not is_over:
            response = await server.chat("hello")
            await response.text()
            codes.append(response.code)

    clients = [Deferred.fromCoroutine(client()) for _ in range(2)]
    await until(lambda: len(codes) > 2)
    install(Path(str(NEWER)).resolve())
    await until(lambda: conformance.binary != before)
    held.callback(None)
    assert events(await long.text())[-1] == "[DONE]"
    count = len(codes)
    await until(lambda: len(codes) > count + 3)
    is_over = True
    await gatherResults(clients)
    assert set(codes) == {200}
    await server.settled()
    assert all(conformance.is_current(worker.launch) for worker in server.workers)
    await until(lambda: server.backend._discovery.knows(conformance.binary))
