"""The answers to the hostile corpus: an error in plain words, or an answer; no 500."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.hostile.corpus import bodies, schema_bodies, sockets
from tests.hostile.server import fake_cli
from tests.support.server import KEY, RunningProxy, Upstream, start_proxy
from tests.support.waiting import until
from tests.support.websocket import SocketClient, open_socket

_REACTOR: Any = reactor
_SIZE = 4000
# A script answers, and knows nothing of the schema.
_OTHER_CODES = {"schema_not_satisfied"}

pytestmark = pytest.mark.threads


@pytest.fixture
def running(upstream: Upstream, tmp_path: Path) -> Iterator[RunningProxy]:
    proxy = start_proxy(
        _REACTOR,
        upstream,
        tmp_path,
        claude_bin=fake_cli(tmp_path),
        compose="body",
        state_dir=tmp_path / "state",
    )
    yield proxy
    pytest_twisted.blockon(Deferred.fromCoroutine(proxy.stop()))


async def ordinary(proxy: RunningProxy) -> Any:
    """The answer to an ordinary request, without what differs each time."""
    response = await proxy.chat("hello")
    document = await response.json()
    assert response.code == 200, document
    return {**document, "id": "", "created": 0}


@pytest.mark.parametrize("corpus", [bodies, schema_bodies])
@ensureDeferred
async def test_hostile_body_is_answered_or_refused(
    running: RunningProxy, corpus: Callable[..., Any]
) -> None:
    before = await ordinary(running)
    wrong = []
    count = 0
    for hostile in corpus(_SIZE):
        response = await running.post(hostile.path, hostile.body)
        document = json.loads(await response.text())
        count += 1
        if response.code == 200:
            continue
        error = document["error"]
        code = error.get("code")
        if not error["message"] or (response.code >= 500 and code not in _OTHER_CODES):
            wrong.append((hostile.name, response.code, error))
    assert wrong == []
    assert count >= 50
    assert await ordinary(running) == before


@ensureDeferred
async def test_hostile_frames_are_answered_or_end_the_connection(
    running: RunningProxy,
) -> None:
    before = await ordinary(running)
    headers = {"authorization": f"Bearer {KEY}"}
    wrong = []
    for name, frames in sockets(_SIZE).items():
        client = await open_socket(_REACTOR, running.number, headers)
        client.transport.write(frames)
        # An unfinished message waits for its end; the server still answers.
        client.transport.write(PING)
        await until(lambda c=client: answered(c))  # type: ignore[misc]  # bound now
        errors = [m["error"] for m in client.messages if m["type"] == "error"]
        wrong += [(name, e) for e in errors if e["code"] == "internal_error"]
        if client.closed is not None and client.closed[0] == 1011:
            wrong.append((name, client.closed))
        client.transport.abortConnection()
        await client.lost()
    assert wrong == []
    assert await ordinary(running) == before


PING = b"\x89\x84" + bytes(4) + b"last"


def answered(client: SocketClient) -> bool:
    return bool(client.messages or client.pongs or client.closed or client.is_lost)
