"""From settings to a Twisted service.

=========  ================================================================
start      the runtime directory is made, with ``--demo`` the scripted Messages API
           listens, the ports open; the CLI is examined and the database is opened
           in the background
stop       the ports close; running answers get ``--drain-timeout``; then they fail
           with an error, every CLI process is stopped, pending data is stored,
           connections close, and the runtime directory is removed
=========  ================================================================

Nothing is opened before the start: with a daemon, `make_service` runs in the process
that exits.
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
from ccproxy.config.reading import DEMO_KEY, without_effect
from ccproxy.config.settings import Settings
from ccproxy.core.errors import StorageFailed
from ccproxy.server.backend_factory import make_backend
from ccproxy.server.metrics import Metrics, UsageRecorder
from ccproxy.server.refused_keys import RefusedKeyLog
from ccproxy.server.runtime import Runtime
from ccproxy.store.store import Store
from ccproxy.web.access import Authenticator, CORSPolicy, check_keys, is_reachable
from ccproxy.web.head_checks import head_checks
from ccproxy.web.observer import RequestObservers
from ccproxy.web.server import ProxySite, base_url, endpoint_of

_DEMO_BANNER = (
    "this is a DEMO: a script answers, not a model. Try it: curl -N "
    "{url}/chat/completions -H 'Authorization: Bearer {key}' -d '{body}'"
)
_DEMO_BODY = '{"stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

# Time for connections to close after the last answer has ended.
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
        settings: the settings of endpoints, connections and logs have no effect.
        authenticate: whether clients must send one of ``settings.api_keys``; if
            not, the application has to check its clients itself.
        reactor: the global reactor by default.
        environment: the CLI inherits some of its variables, by an allow-list.
    """
    proxy = ProxyService(
        settings, running_reactor(reactor), environment, authenticate=authenticate
    )
    return Proxy(resource=proxy.resource, service=proxy)


def make_service(
    settings: Settings,
    *,
    reactor: Any = None,
    environment: Mapping[str, str] = os.environ,
) -> "Server":
    """Make the whole server: the proxy and its ports.

    Raises:
        SettingsError: Twisted does not understand an endpoint, or an API key is too
            short for an endpoint that other machines can reach.
    """
    reactor = running_reactor(reactor)
    proxy = ProxyService(settings, reactor, environment)
    checks = head_checks(
        settings,
        proxy.authenticator,
        proxy.cors,
        proxy.api.open_paths,
        socket.gethostname(),
    )
    site = ProxySite(proxy.resource, checks, reactor, proxy.observer)
    server = Server(settings, proxy, site, reactor)
    # After `Server`, whose error for an invalid endpoint string is the clearer one.
    check_keys(settings.endpoints, settings.api_keys)
    return server


def running_reactor(given: Any = None) -> Any:
    """The reactor that was given, or else the global reactor."""
    if given is None:
        # Imported late: an application may install another reactor before.
        from twisted.internet import reactor as given
    return given


class ProxyService(Service):
    """The proxy without its ports: API, backend, store and metrics.

    Attributes:
        resource: the API's root.
        observer: notified of every request.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        environment: Mapping[str, str],
        *,
        authenticate: bool = True,
    ) -> None:
        self._settings = settings
        self._runtime = Runtime(settings, reactor, environment)
        self.store = Store(
            url=self._runtime.database_url,
            reactor=reactor,
            wall_seconds=time.time,
            keep_time=settings.keep_time,
            keep_size=settings.keep_size,
        )
        metrics = Metrics()
        self.backend = metrics.watched = make_backend(
            settings,
            self._runtime,
            reactor,
            observer=metrics,
            on_limits=self.store.usage.record_limits,
            stored_answers=self.store.answers,
        )
        activity = ActivityTracker(self.backend, __version__, time.time)
        recorder = UsageRecorder(self.store.usage)
        self._refused_keys = RefusedKeyLog(reactor)
        self.observer = RequestObservers(
            (metrics, recorder, activity, self._refused_keys)
        )
        self.authenticator = Authenticator(
            settings.api_keys if authenticate else None, settings.max_body
        )
        self.cors = CORSPolicy(settings.cors_origins)
        self.api = API(
            backend=self.backend,
            store=self.store,
            authenticator=self.authenticator,
            cors=self.cors,
            settings=settings,
            observer=self.observer,
            exposition=metrics,
            tracker=activity,
            clock=reactor,
            wall_seconds=time.time,
        )
        self.resource = self.api.resource()

    @override
    def startService(self) -> None:
        super().startService()
        for option in without_effect(self._settings):
            self._log.warn("{option}; it has no effect", option=option)
        self._runtime.open()
        self.backend.start()
        Deferred.fromCoroutine(self.store.start()).addErrback(self._no_store)

    def _no_store(self, failure: Failure) -> None:
        if failure.check(StorageFailed) is None:
            self._log.failure("the store did not start", failure)
        if not self.running:
            return
        # The store logs the reason.
        self._log.error(
            "nothing can be stored; requests that need no stored data are served"
        )

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
            self._refused_keys.stop()
            await self._runtime.close()


class CannotListen(Exception):
    """A port cannot be opened; one line with the endpoint and the reason."""


class Server(Service):
    """The proxy behind its own ports.

    Attributes:
        ports: the open ports, in the order of ``settings.endpoints``.

    Raises:
        SettingsError: Twisted does not understand an endpoint.
        CannotListen: at the start, if a port cannot be opened.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, proxy: ProxyService, site: ProxySite, reactor: Any
    ) -> None:
        self._settings = settings
        self._proxy = proxy
        self._site = site
        self._endpoints = [endpoint_of(reactor, text) for text in settings.endpoints]
        self.ports: list[IListeningPort] = []

    @override
    def privilegedStartService(self) -> None:
        # Before privileges are shed, and before twistd reports success: a port that
        # is in use must end the start, not only be logged.
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
        self._proxy.startService()
        self._log.info(
            "ccproxy {version} listens on {places}; default model {model}",
            version=__version__,
            places=", ".join(self._places()),
            model=self._settings.model,
        )
        for endpoint in filter(is_reachable, self._settings.endpoints):
            self._log.warn(
                "other machines can reach {endpoint}: everyone who has the key can use "
                "your subscription, and without TLS the network can read everything",
                endpoint=endpoint,
            )
        if self._settings.demo:
            # The operator's own key is not logged.
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

    def stop_now(self) -> None:
        """Do not wait for answers any more: fail them, and kill the CLI processes."""
        self._proxy.backend.stop_now()
        self._site.stop_now()

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        # Longer than the proxy, which writes the end of every answer.
        limit_seconds = self._settings.drain_timeout + _DRAIN_SECONDS
        drained = self._site.drain(limit_seconds)
        await maybeDeferred(self._proxy.stopService)
        self._site.abort_stalled()
        await drained
