"""The real HTTP server, in front of a backend under the test's control."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from ccproxy.store.engine import sqlite_url
from ccproxy.store.store import Store
from ccproxy.web.server import ProxySite
from tests.support.backend import ScriptedBackend, site
from tests.support.raw import RawClient, connect, request
from tests.support.server import KEY, chat_body

_REACTOR: Any = reactor
AUTHORIZATION = f"Bearer {KEY}"
# The shortest request of each API, by path.
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hello"}],
    },
}


@define(eq=False)
class HTTP:
    """A running server; `clock` is the time of its streams."""

    backend: ScriptedBackend
    clock: Clock
    store: Store
    site: ProxySite
    port: Any

    @property
    def number(self) -> int:
        number: int = self.port.getHost().port
        return number

    def request(
        self, method: str, path: str, *, key: str | None = KEY, **options: Any
    ) -> "Deferred[Any]":
        headers = options.pop("headers", {})
        if key is not None:
            headers = {"authorization": f"Bearer {key}", **headers}
        answer: Deferred[Any] = treq.request(
            method,
            f"http://127.0.0.1:{self.number}{path}",
            headers=headers,
            persistent=False,
            allow_redirects=False,
            **options,
        )
        return answer

    def chat(self, *messages: Any, **fields: Any) -> "Deferred[Any]":
        body = chat_body(*messages, **fields)
        return self.request("POST", "/v1/chat/completions", json=body)

    def connect(self) -> "Deferred[RawClient]":
        return connect(_REACTOR, self.number)


def chat_bytes(*messages: Any, **fields: Any) -> bytes:
    """A whole chat request, as bytes."""
    body = json.dumps(chat_body(*messages, **fields)).encode()
    return request("POST", "/v1/chat/completions", body, authorization=AUTHORIZATION)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., HTTP]]:
    """Starts servers; ``site_clock`` is the time of their connections."""
    running: list[HTTP] = []

    def start(site_clock: Any = _REACTOR, **options: Any) -> HTTP:
        backend, clock = ScriptedBackend(), Clock()
        # Nothing is opened before somebody asks for it.
        store = Store(
            url=lambda: sqlite_url(tmp_path / "responses.sqlite"),
            reactor=_REACTOR,
            wall_seconds=lambda: 1700000000.0,
            keep_time=None,
            keep_size=None,
        )
        factory = site(backend, store, site_clock, clock, **options)
        port = _REACTOR.listenTCP(0, factory, interface="127.0.0.1")
        running.append(HTTP(backend, clock, store, factory, port))
        return running[-1]

    yield start

    async def stop(server: HTTP) -> None:
        await maybeDeferred(server.port.stopListening)
        drained = server.site.drain(0.5)
        if isinstance(server.site.reactor, Clock):
            server.site.reactor.advance(0.5)
        await drained
        await server.store.stop()

    for server in running:
        pytest_twisted.blockon(Deferred.fromCoroutine(stop(server)))


@pytest.fixture
def http(serve: Callable[..., HTTP]) -> HTTP:
    return serve()
