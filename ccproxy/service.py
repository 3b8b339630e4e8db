"""From settings to one Twisted service: start, drain, stop.

=========  ================================================================
start      the private cwd is made, the demo listens if asked for, the ports
           open, the CLI is looked at and the store opened in the background
stop       the ports close, answers under way go on for a while, what is left of
           them fails with a clear error, every CLI is stopped and reaped, what is
           to be stored is, connections end with their answers, the cwd goes
=========  ================================================================

Nothing is opened before the start: with a daemon, `make_service` still runs in
the process that goes away.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import IService, Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from typing_extensions import override

from ccproxy import __version__
from ccproxy.claude.backend import Backend
from ccproxy.claude.capacity import memory_bytes, processes_for
from ccproxy.claude.catalogue import Catalogue
from ccproxy.claude.deadlines import Limits
from ccproxy.claude.launch import (
    Launch,
    child_environment,
    exec_prefix,
    find_claude,
)
from ccproxy.claude.pool import PoolLimits
from ccproxy.claude.transcript import Reuse
from ccproxy.claude.waiting_room import WaitingLimits
from ccproxy.demo import MessagesAPI, MessagesSite, demo_script
from ccproxy.errors import ClaudeUnavailable, StorageFailed
from ccproxy.metrics import Metrics
from ccproxy.settings import DEMO_KEY, Settings, SettingsError
from ccproxy.store.engine import store_url
from ccproxy.store.store import Store
from ccproxy.web.app import API
from ccproxy.web.bookkeeper import Bookkeeper
from ccproxy.web.gate import Gate
from ccproxy.web.observer import Observers
from ccproxy.web.policy import Policy
from ccproxy.web.site import ProxySite

_DEMO_BANNER = (
    "this is a DEMO: a script answers, not a model. Ask it: curl -N "
    "{url}/chat/completions -H 'Authorization: Bearer {key}' -d '{body}'"
)
_DEMO_BODY = '{"stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

# Claude Code's tool for what OpenAI's clients call web_search.
_WEB_SEARCH = "WebSearch"

# Connections have little left to do when every answer has been ended.
_DRAIN_SECONDS = 5.0


@frozen(kw_only=True)
class Proxy:
    """The proxy as a part of another application.

    Attributes:
        resource: the API; mount it at any path. It serves while ``service`` runs.
        service: to be started and stopped with the application.
    """

    resource: IResource
    service: IService


def create_proxy(
    settings: Settings,
    *,
    authenticate: bool = True,
    reactor: Any = None,
    environment: Mapping[str, str] = os.environ,
) -> Proxy:
    """Make a proxy for another Twisted application, without a port of its own.

    Args:
        settings: ``listen`` and the log settings are not looked at.
        authenticate: whether clients must send one of ``settings.api_keys``; if
            not, the application in front has to keep strangers out.
        reactor: the global one by default.
        environment: what the CLI may inherit of, by an allow-list.
    """
    parts = _parts(settings, authenticate, running_reactor(reactor), environment)
    return Proxy(resource=parts.resource, service=parts.engine)


def make_service(
    settings: Settings,
    *,
    reactor: Any = None,
    environment: Mapping[str, str] = os.environ,
) -> IService:
    """Make the whole server: the proxy and its ports."""
    reactor = running_reactor(reactor)
    parts = _parts(settings, True, reactor, environment)
    site = ProxySite(parts.resource, parts.gate, reactor, parts.engine.observer)
    return Server(settings, parts.engine, site, reactor)


def running_reactor(given: Any = None) -> Any:
    """The reactor that was given, or else the global one."""
    if given is None:
        # Whoever wants another than the default has installed it before.
        from twisted.internet import reactor as given
    return given


@frozen
class _Parts:
    resource: IResource
    gate: Gate
    engine: "Engine"


def _parts(
    settings: Settings,
    authenticate: bool,
    reactor: Any,
    environment: Mapping[str, str],
) -> _Parts:
    engine = Engine(settings, reactor, environment)
    gate = Gate(settings.api_keys if authenticate else None, settings.max_body_bytes)
    api = engine.api = API(
        backend=engine.backend,
        store=engine.store,
        gate=gate,
        policy=Policy(
            forward_sampling=settings.forward_sampling,
            web_search=_WEB_SEARCH in settings.agent_tools,
            max_body_bytes=settings.max_body_bytes,
            open_metrics=settings.open_metrics,
        ),
        observer=engine.observer,
        exposition=engine.metrics,
        clock=reactor,
        wall_seconds=time.time,
    )
    return _Parts(api.resource(), gate, engine)


class Engine(Service):
    """What serves questions: the backend, its private folder, store, demo upstream.

    Attributes:
        api: who is waited for before the store is closed.
    """

    _log = Logger()
    api: API

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        environment: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._environment = environment
        self._folder: Path | None = None
        self._found: Launch | None = None
        self._demo_port: IListeningPort | None = None
        self.store = Store(
            url=self._database_url,
            reactor=reactor,
            wall_seconds=time.time,
            keep_days=settings.keep_days,
            keep_bytes=settings.keep_bytes,
        )
        self.metrics = Metrics()
        self.observer = Observers((self.metrics, Bookkeeper(self.store.ledger)))
        self.backend = self.metrics.watched = Backend(
            launch=self._launch,
            catalogue=Catalogue(settings.model, settings.model_map, int(time.time())),
            limits=Limits(
                first_token_seconds=settings.first_token_seconds,
                silence_seconds=settings.silence_seconds,
                turn_seconds=settings.turn_seconds,
            ),
            pool=_pool_limits(settings),
            observer=self.metrics,
            limited=self.store.ledger.limited,
            forces_calls=settings.forward_tool_choice,
            tells_own_calls=settings.show_agent_tools,
            spawner=reactor,
            clock=reactor,
            wall_seconds=time.time,
        )

    @override
    def startService(self) -> None:
        super().startService()
        self._folder = Path(tempfile.mkdtemp(prefix="ccproxy-"))
        self._found = None
        if self._settings.demo:
            api = MessagesAPI(demo_script, self._reactor)
            site = MessagesSite(api, self._reactor)
            self._demo_port = self._reactor.listenTCP(0, site, interface="127.0.0.1")
        self.backend.start()
        Deferred.fromCoroutine(self.store.start()).addErrback(self._no_store)

    def _database_url(self) -> str:
        """Where the store is; only known once there is a private folder."""
        folder = self._settings.state_dir or self._folder
        url = store_url(self._settings.database_url, folder)
        if url is None:
            raise StorageFailed("the proxy's service has not been started")
        return url

    def _no_store(self, failure: Failure) -> None:
        if failure.check(StorageFailed) is None:
            self._log.failure("the store did not start", failure)
        if not self.running:
            return
        # The store has logged the reason.
        self._log.error("nothing can be stored so far; what need not be is served")

    @override
    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        try:
            await self.backend.drain(self._settings.drain_seconds)
            await self.backend.stop()
            await self.api.drain()
            await self.store.stop()
        finally:
            if self._demo_port is not None:
                await maybeDeferred(self._demo_port.stopListening)
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _launch(self) -> Launch:
        """How to start a CLI; it may be installed while we run."""
        if self._folder is None:
            raise ClaudeUnavailable("the proxy's service has not been started")
        if self._found is None:
            search_path = self._environment.get("PATH")
            cwd = self._folder / "cwd"
            self._found = Launch(
                binary=find_claude(self._settings.claude_bin, search_path),
                prefix=exec_prefix(cwd, search_path),
                cwd=cwd,
                scratch=self._folder,
                environment=self._child_environment(self._folder / "home"),
                model=self._settings.model,
                agent_tools=self._settings.agent_tools,
            )
        return self._found

    def _child_environment(self, home: Path) -> Mapping[str, str]:
        if self._demo_port is None:
            return child_environment(self._environment)
        address: Any = self._demo_port.getHost()
        upstream = f"http://127.0.0.1:{address.port}"
        child = child_environment(self._environment, demo_upstream=upstream)
        # Not the user's own home: a demo leaves no trace in it.
        home.mkdir(mode=0o700, exist_ok=True)
        return {**child, "HOME": str(home)}


def _pool_limits(settings: Settings) -> PoolLimits:
    return PoolLimits(
        processes=settings.max_processes or processes_for(memory_bytes()),
        spares=settings.spares,
        idle_seconds=settings.idle_seconds,
        recycle_bytes=settings.recycle_bytes,
        queue=settings.max_queue,
        queue_seconds=settings.queue_seconds,
        reuse=Reuse(settings.reuse),
        waiting=WaitingLimits(
            sessions=settings.max_suspended, seconds=settings.suspended_seconds
        ),
    )


class CannotListen(Exception):
    """A port cannot be had; one line that names the endpoint and the reason."""


class Server(Service):
    """The engine behind its own ports.

    Attributes:
        ports: those that are open, in the order of ``settings.listen``.

    Raises:
        SettingsError: an endpoint string that Twisted does not understand.
        CannotListen: at the start, for a port that cannot be had.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, engine: Engine, site: ProxySite, reactor: Any
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._site = site
        self._endpoints = [_endpoint(reactor, text) for text in settings.listen]
        self.ports: list[IListeningPort] = []

    @override
    def privilegedStartService(self) -> None:
        # Before privileges are shed, and before twistd says that all is well: a
        # port that is taken must end the start, not only be logged.
        for text, endpoint in zip(self._settings.listen, self._endpoints, strict=True):
            outcome: list[Any] = []
            endpoint.listen(self._site).addBoth(outcome.append)
            if not outcome or isinstance(outcome[0], Failure):
                why = outcome[0].getErrorMessage() if outcome else "no answer"
                message = f"cannot listen on {text}: {why}; see --port and --listen"
                self._log.critical("{message}", message=message)
                raise CannotListen(message)
            self.ports += outcome

    @override
    def startService(self) -> None:
        super().startService()
        if not self.ports:
            self.privilegedStartService()
        self._engine.startService()
        self._log.info(
            "ccproxy {version} listens on {places}; default model {model}",
            version=__version__,
            places=", ".join(self._places()),
            model=self._settings.model,
        )
        if self._settings.demo:
            # A key of the user's own is no business of the log's.
            own = self._settings.api_keys != (DEMO_KEY,)
            self._log.info(
                _DEMO_BANNER,
                url=self._places()[0],
                key="$PROXY_API_KEY" if own else DEMO_KEY,
                body=_DEMO_BODY,
            )

    def _places(self) -> list[str]:
        listen = zip(self._settings.listen, self.ports, strict=True)
        return [_place(endpoint, port.getHost()) for endpoint, port in listen]

    @override
    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        # Longer than the engine, which has the last word of every answer.
        limit_seconds = self._settings.drain_seconds + _DRAIN_SECONDS
        drained = self._site.drain(limit_seconds)
        await maybeDeferred(self._engine.stopService)
        await drained


def _endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        # Each parser of endpoint strings fails in a way of its own.
        raise SettingsError(f"--listen: {text!r} is no endpoint: {error}") from error
    return endpoint


def _place(endpoint: str, address: object) -> str:
    """Where a client finds us, as curl takes it."""
    scheme = "https" if endpoint.startswith(("ssl:", "tls:")) else "http"
    match address:
        case IPv4Address(host=host, port=port):
            return f"{scheme}://{host}:{port}/v1"
        case IPv6Address(host=host, port=port):
            return f"{scheme}://[{host}]:{port}/v1"
        case UNIXAddress(name=name):
            return f"--unix-socket {os.fsdecode(name or '')} http://localhost/v1"
    return repr(address)
