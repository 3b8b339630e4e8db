"""The examples do what they say, on the real CLI."""

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.http_headers import Headers
from twisted.web.server import Site

from tests.support.server import (
    KEY,
    RunningProxy,
    Upstream,
    answer,
    chat_body,
    spoken,
)
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


@ensureDeferred
async def test_treq_client_streams(proxy: Start, upstream: Upstream) -> None:
    received: list[str] = []
    stream_chat = example("treq_client.py")["stream_chat"]
    await stream_chat(f"{proxy().url}/v1", KEY, "hello", received.append)
    assert "".join(received) == "one two three"
    assert spoken(upstream.bodies[0]) == [("user", ["hello"])]


@ensureDeferred
async def test_treq_client_cancels_half_way(proxy: Start, upstream: Upstream) -> None:
    held: Deferred[None] = Deferred()
    upstream.script(answer("one two three", hold_after=2, held=held))
    stream_some = example("treq_client.py")["stream_some"]
    # The first piece is the empty one that comes with the role.
    server = proxy()
    pieces = await stream_some(f"{server.url}/v1", KEY, "hello", 3)
    assert pieces == ["", "one", " two"]
    await until(lambda: upstream.api.gone == 1)
    await server.settled()
    held.callback(None)


@ensureDeferred
async def test_treq_client_tells_errors(proxy: Start) -> None:
    stream_chat = example("treq_client.py")["stream_chat"]
    with pytest.raises(RuntimeError, match="API key is wrong"):
        await stream_chat(f"{proxy().url}/v1", "nope", "hello", print)


@pytest.fixture
def embedded(
    claude: Path, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Starts the embedding example; gives its URL."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-dummy")
    monkeypatch.delenv("PROXY_API_KEY", raising=False)
    typed: Any = reactor
    running: list[Any] = []

    def start(**options: Any) -> str:
        make_application = example("embed.py")["make_application"]
        resource, service = make_application(
            KEY, claude_bin=claude, spares=0, **options
        )
        service.startService()
        port = typed.listenTCP(0, Site(resource), interface="127.0.0.1")
        running.extend((port.stopListening, service.stopService))
        return f"http://127.0.0.1:{port.getHost().port}"

    yield start
    for stop in running:
        pytest_twisted.blockon(maybeDeferred(stop))


async def ask(url: str, **headers: str) -> Any:
    return await treq.post(
        f"{url}/chat/completions",
        json=chat_body("hello"),
        headers=Headers({name: [value] for name, value in headers.items()}),
        persistent=False,
    )


@ensureDeferred
async def test_embedded_in_another_application(embedded: Callable[..., str]) -> None:
    url = embedded()
    response = await treq.get(url, persistent=False)
    assert b"my application" in await response.content()
    assert (await ask(f"{url}/ai/v1")).code == 401
    response = await ask(f"{url}/ai/v1", authorization=f"Bearer {KEY}")
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "one two three"
    response = await treq.get(f"{url}/ai/nope", persistent=False)
    assert (await response.json())["error"]["code"] == "not_found"
    # Behind the application's own check.
    assert (await ask(f"{url}/internal/v1")).code == 403
    response = await ask(f"{url}/internal", **{"x-my-session": "known"})
    document = await response.json()
    assert document["choices"][0]["message"]["content"] == "one two three"


@ensureDeferred
async def test_body_limit_holds_where_another_server_reads(
    embedded: Callable[..., str],
) -> None:
    url = embedded(max_body=10)
    response = await ask(f"{url}/ai/v1", authorization=f"Bearer {KEY}")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (413, "request_too_large")
