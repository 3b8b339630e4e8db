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
import socket
import time
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from typing_extensions import override

from ccproxy import __version__
from ccproxy.api.admin.activity import ActivityTracker
from ccproxy.api.app import API
from ccproxy.api.options import APIOptions
from ccproxy.config.reading import DEMO_KEY, without_effect
from ccproxy.config.settings import Settings
from ccproxy.core.errors import StorageFailed
from ccproxy.server.backend_factory import make_backend
from ccproxy.server.metrics import Metrics
from ccproxy.server.runtime import Runtime
from ccproxy.server.usage_recorder import UsageRecorder
from ccproxy.store.store import Store
from ccproxy.web.auth import Authenticator
from ccproxy.web.cors import CORSPolicy
from ccproxy.web.head_checks import head_checks
from ccproxy.web.listen import base_url, endpoint_of
from ccproxy.web.observer import RequestObservers
from ccproxy.web.reach import check_keys, is_reachable
from ccproxy.web.server import ProxySite

_DEMO_BANNER = (
    "this is a DEMO: a script answers, not a model. Ask it: curl -N "
    "{url}/chat/completions -H 'Authorization: Bearer {key}' -d '{body}'"
)
_DEMO_BODY = '{"stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

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
        settings: the endpoints and the log settings are not looked at.
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
) -> "Server":
    """Make the whole server: the proxy and its ports.

    Raises:
        SettingsError: an endpoint that is none, or a key too short for it.
    """
    reactor = running_reactor(reactor)
    parts = _parts(settings, True, reactor, environment)
    door = head_checks(
        settings,
        parts.authenticator,
        parts.cors,
        parts.engine.api.open_paths,
        socket.gethostname(),
    )
    site = ProxySite(parts.resource, door, reactor, parts.engine.observer)
    server = Server(settings, parts.engine, site, reactor)
    # What is no endpoint has been told by now.
    check_keys(settings.endpoints, settings.api_keys)
    return server


def running_reactor(given: Any = None) -> Any:
    """The reactor that was given, or else the global one."""
    if given is None:
        # Whoever wants another than the default has installed it before.
        from twisted.internet import reactor as given
    return given


@frozen
class _Parts:
    resource: IResource
    authenticator: Authenticator
    cors: CORSPolicy
    engine: "ProxyService"


def _parts(
    settings: Settings,
    authenticate: bool,
    reactor: Any,
    environment: Mapping[str, str],
) -> _Parts:
    engine = ProxyService(settings, reactor, environment)
    cors = CORSPolicy(settings.cors_origins)
    authenticator = Authenticator(
        settings.api_keys if authenticate else None, settings.max_body
    )
    api = engine.api = API(
        backend=engine.backend,
        store=engine.store,
        authenticator=authenticator,
        cors=cors,
        policy=APIOptions(
            max_body=settings.max_body,
            open_metrics=settings.open_metrics,
        ),
        observer=engine.observer,
        exposition=engine.metrics,
        live=engine.live,
        clock=reactor,
        wall_seconds=time.time,
    )
    return _Parts(api.resource(), authenticator, cors, engine)


class ProxyService(Service):
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
        self._premises = Runtime(settings, reactor, environment)
        self.store = Store(
            url=self._premises.database_url,
            reactor=reactor,
            wall_seconds=time.time,
            keep_time=settings.keep_time,
            keep_size=settings.keep_size,
        )
        self.metrics = Metrics()
        self.backend = self.metrics.watched = make_backend(
            settings,
            self._premises,
            reactor,
            observer=self.metrics,
            limited=self.store.usage.record_limits,
            shared=self.store.answers,
        )
        self.live = ActivityTracker(self.backend, __version__, time.time)
        keeper = UsageRecorder(self.store.usage)
        self.observer = RequestObservers((self.metrics, keeper, self.live))

    @override
    def startService(self) -> None:
        super().startService()
        for option in without_effect(self._settings):
            self._log.warn("{option}; it has no effect", option=option)
        self._premises.open()
        self.backend.start()
        Deferred.fromCoroutine(self.store.start()).addErrback(self._no_store)

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
            await self.backend.drain(self._settings.drain_timeout)
            await self.backend.stop()
            await self.api.drain()
            await self.store.stop()
        finally:
            await self._premises.close()


class CannotListen(Exception):
    """A port cannot be had; one line that names the endpoint and the reason."""


class Server(Service):
    """The engine behind its own ports.

    Attributes:
        ports: those that are open, in the order of ``settings.endpoints``.

    Raises:
        SettingsError: an endpoint string that Twisted does not understand.
        CannotListen: at the start, for a port that cannot be had.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, engine: ProxyService, site: ProxySite, reactor: Any
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._site = site
        self._endpoints = [endpoint_of(reactor, text) for text in settings.endpoints]
        self.ports: list[IListeningPort] = []

    @override
    def privilegedStartService(self) -> None:
        # Before privileges are shed, and before twistd says that all is well: a
        # port that is taken must end the start, not only be logged.
        for text, endpoint in zip(
            self._settings.endpoints, self._endpoints, strict=True
        ):
            outcome: list[Any] = []
            endpoint.listen(self._site).addBoth(outcome.append)
            if not outcome or isinstance(outcome[0], Failure):
                why = outcome[0].getErrorMessage().rstrip(".") if outcome else "unknown"
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
        for endpoint in filter(is_reachable, self._settings.endpoints):
            self._log.warn(
                "other machines can reach {endpoint}: whoever has the key can use your "
                "subscription up, and what is not TLS can be read on the way",
                endpoint=endpoint,
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
        listen = zip(self._settings.endpoints, self.ports, strict=True)
        return [base_url(endpoint, port.getHost()) for endpoint, port in listen]

    @override
    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """End at once what is being stopped: answers with an error, CLIs by force."""
        self._engine.backend.stop_now()
        self._site.hurry()

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        # Longer than the engine, which has the last word of every answer.
        limit_seconds = self._settings.drain_timeout + _DRAIN_SECONDS
        drained = self._site.drain(limit_seconds)
        await maybeDeferred(self._engine.stopService)
        self._site.leave_standing_readers()
        await drained
