"""A whole proxy on loopback, with a recording upstream behind its CLI."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import treq
from attrs import define
from twisted.internet.defer import Deferred, maybeDeferred

from ccproxy.config.settings import Settings
from ccproxy.server.probing import ProbeResultFile
from ccproxy.server.service import Server, make_service
from tests.support.upstream import RefusingAPI as RefusingAPI
from tests.support.upstream import Upstream as Upstream
from tests.support.upstream import answer as answer
from tests.support.upstream import spoken as spoken
from tests.support.upstream import start_upstream as start_upstream
from tests.support.upstream import system as system
from tests.support.waiting import until

KEY = "test-key"


@define(eq=False)
class RunningProxy:
    """A running server."""

    service: Server
    port: Any
    starts: int = 0

    @property
    def number(self) -> int:
        number: int = self.port.getHost().port
        return number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    def get(self, path: str, **options: Any) -> "Deferred[Any]":
        return self._request("GET", path, **options)

    def post(self, path: str, body: object, **options: Any) -> "Deferred[Any]":
        if isinstance(body, bytes):
            return self._request("POST", path, data=body, **options)
        return self._request("POST", path, json=body, **options)

    def chat(
        self, *messages: str | Mapping[str, Any], **fields: Any
    ) -> "Deferred[Any]":
        """Send a chat request; a string is a message of the user."""
        return self.post("/v1/chat/completions", chat_body(*messages, **fields))

    def _request(self, method: str, path: str, **options: Any) -> "Deferred[Any]":
        headers = {**self.headers, **options.pop("headers", {})}
        request: Deferred[Any] = treq.request(
            method, self.url + path, headers=headers, persistent=False, **options
        )
        return request

    @property
    def processes(self) -> int:
        """The number of CLI processes."""
        return sum(self.backend.session_counts().values())

    @property
    def backend(self) -> Any:
        """The server's backend."""
        return self.service._proxy.backend

    def count_starts(self) -> None:
        """Record in ``starts`` the workers that are started for questions or as spares.

        The first look at the CLI, and the examination of its binary, do not count.
        """
        factory: Any = self._pool._factory
        start = factory.start

        def counted(*, is_probe: bool = False) -> Any:
            worker = start(is_probe=is_probe)
            self.starts += not is_probe
            return worker

        factory.start = counted

    async def ready(self) -> None:
        """Wait until the CLI is known, and whether it merges bodies."""
        await self.backend.models()
        await self.backend._conformance.settle()

    async def examined(self) -> None:
        """Wait until all quick checks of the CLI are made."""
        await self.ready()
        await until(lambda: not self.backend._conformance.is_examining)

    @property
    def busy(self) -> Sequence[int]:
        """The process ids of the CLIs that answer now."""
        running = [*self._pool._answering]
        sessions = [c._process._process.pid for c in self._native._running]
        return [*(worker.pid for worker in running), *sessions]

    @property
    def workers(self) -> Sequence[Any]:
        """The idle workers."""
        return [*self._pool._idle, *self._pool._spares]

    @property
    def clis(self) -> Sequence[Any]:
        """The process transports of the idle CLIs."""
        return [worker._process.transport for worker in self.workers]

    @property
    def helpers(self) -> Sequence[Any]:
        """The process transports of the schema helpers."""
        return [helper.transport for helper in self.backend._checker._helpers]

    @property
    def timers(self) -> Sequence[Any]:
        """The timers of idle processes and of the store, which are no leak."""
        pool = self._pool
        sweep: Any = self.service._proxy.store.retention._loop.call
        places = [place.timer for place in pool._idle._places.values()]
        ledger: Any = self.service._proxy.store.usage
        own = [t for w in self.workers for t in (w._timer, w._heartbeat._looking)]
        helping = [helper._timer for helper in self.backend._checker._helpers]
        return [*places, *own, *helping, pool._spares._timer, sweep, ledger._timer]

    async def settled(self) -> None:
        """Dismiss suspended sessions, and wait until every CLI is idle."""
        pool, native = self._pool, self._native
        while native.make_room():
            pass

        def is_at_rest() -> bool:
            busy = pool._answering or pool._settling or pool._stopping.stopping
            busy = busy or any(worker.is_starting for worker in pool._spares)
            return not (busy or pool._spares.warming or native._stopping.stopping)

        await until(is_at_rest)

    async def idle(self) -> None:
        """Stop every idle CLI, and wait for its end."""
        spares = self._pool._spares
        wanted, spares._wanted = spares._wanted, 0
        spares.stop()
        self._pool._selector.dismiss_all()
        await self.settled()
        self._pool._selector.dismiss_all()
        await until(lambda: self.processes == 0)
        spares._wanted = wanted

    @property
    def _native(self) -> Any:
        return self.backend._native

    @property
    def _pool(self) -> Any:
        return self.backend._pool

    async def stop(self) -> None:
        await maybeDeferred(self.service.stopService)


def chat_body(*messages: str | Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    said = [
        m if not isinstance(m, str) else {"role": "user", "content": m}
        for m in messages
    ]
    return {"messages": said, **fields}


def start_proxy(
    reactor: Any,
    upstream: Upstream,
    home: Path,
    *,
    environment: Mapping[str, str] | None = None,
    probe_results: Path | None = None,
    **options: Any,
) -> RunningProxy:
    """Start a server on a free port; ``options`` are `Settings`.

    With ``probe_results``, it keeps there what it finds out about the binary, and looks
    there for what others have found out; otherwise its settings say where.
    """
    defaults = {
        "api_keys": (KEY,),
        "listen": ("tcp:0:interface=127.0.0.1",),
        "drain_timeout": 0.01,
    }
    settings = Settings(**{**defaults, **options})
    service = make_service(
        settings,
        reactor=reactor,
        environment={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ANTHROPIC_BASE_URL": upstream.url,
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            **(environment or {}),
        },
    )
    assert isinstance(service, Server)
    service.privilegedStartService()
    proxy = RunningProxy(service, service.ports[0])
    proxy.count_starts()
    if probe_results is not None:
        examiner: Any = proxy.backend._conformance._examiner
        examiner.probe_results = ProbeResultFile(probe_results)
    service.startService()
    return proxy


def events(text: str) -> Sequence[str]:
    """The data of a finished event stream, comments left out."""
    found = []
    for frame in text.split("\n\n"):
        lines = frame.split("\n")
        data = [
            line.removeprefix("data: ") for line in lines if line.startswith("data: ")
        ]
        if data:
            found.append("\n".join(data))
    return found
