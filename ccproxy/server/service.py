"""Makes a Twisted service from the settings.

=========  ================================================================
start      The ports open. The runtime directory is created; with ``--demo``, the
           scripted Messages API listens. In the background, the CLI is examined and
           the database is opened.
stop       The ports close. Running answers have ``--drain-timeout`` to end; then
           they fail. Every CLI process is stopped, pending data is stored, the
           runtime directory is removed, and connections close.
=========  ================================================================

`make_service` opens no file or port: twistd calls it before it forks the daemon.
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
from ccproxy.api.passthrough.relay import new_agent
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
from ccproxy.web.memory import MemoryBudget
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
        resource: the API; mount it at any path.
        service: start and stop it with the application; the resource works only while
            the service runs.
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
            not, the application must check its clients itself.
        reactor: None: the global reactor.
        environment: CLI processes inherit those variables that an allow-list names.
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
        SettingsError: an endpoint string is not valid, or an API key is too short for
            an endpoint that other machines can reach.
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
    site = ProxySite(proxy.resource, checks, reactor, proxy.observer, proxy.memory)
    server = Server(settings, proxy, site, reactor)
    # After `Server`, because its error for an invalid endpoint string is clearer.
    check_keys(settings.endpoints, settings.api_keys)
    return server


def running_reactor(given: Any = None) -> Any:
    """The given reactor, or the global reactor if none is given."""
    if given is None:
        # Imported late, because an import installs the default reactor.
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
        self.memory = MemoryBudget(settings.memory_limit)
        self.api = API(
            backend=self.backend,
            store=self.store,
            authenticator=self.authenticator,
            cors=self.cors,
            settings=settings,
            observer=self.observer,
            memory=self.memory,
            exposition=metrics,
            tracker=activity,
            agent=new_agent(reactor),
            silence_seconds=settings.silence_timeout,
            environment=environment,
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
        # The store has logged the reason.
        self._log.error(
            "the database is not available; only requests that need no stored data "
            "are answered"
        )

    @override
    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        try:
            seconds = self._settings.drain_timeout
            forwarded = Deferred.fromCoroutine(self.api.drain_passthrough(seconds))
            await self.backend.drain(seconds)
            await self.backend.stop()
            await forwarded
            await self.api.drain()
            await self.store.stop()
        finally:
            self._refused_keys.stop()
            await self._runtime.close()


class CannotListen(Exception):
    """A port cannot be opened; the message has the endpoint and the reason."""


class Server(Service):
    """The proxy with its own ports.

    Attributes:
        ports: the open ports, in the order of ``settings.endpoints``.

    Raises:
        SettingsError: an endpoint string is not valid.
        CannotListen: a port cannot be opened; raised when the service starts.
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
        # twistd calls this before it drops privileges and before it reports success, so
        # that a port that is in use makes the start fail.
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
            places=", ".join(self.places()),
            model=self._settings.model,
        )
        for endpoint in filter(is_reachable, self._settings.endpoints):
            self._log.warn(
                "other machines can reach {endpoint}: anyone who has the key can use "
                "your subscription, and without TLS others on the network can read "
                "all requests and answers",
                endpoint=endpoint,
            )
        if self._settings.demo:
            # The operator's own key is not logged.
            own = self._settings.api_keys != (DEMO_KEY,)
            self._log.info(
                _DEMO_BANNER,
                url=self.places()[0],
                key="$PROXY_API_KEY" if own else DEMO_KEY,
                body=_DEMO_BODY,
            )

    def places(self) -> list[str]:
        """The base URLs of the open ports, as `base_url` makes them."""
        listen = zip(self._settings.endpoints, self.ports, strict=True)
        return [base_url(endpoint, port.getHost()) for endpoint, port in listen]

    @override
    def stopService(self) -> "Deferred[None]":
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def stop_now(self) -> None:
        """Stop waiting for answers: running answers fail, CLI processes are killed."""
        self._proxy.backend.stop_now()
        self._site.stop_now()

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        # Longer than `--drain-timeout`, after which the proxy writes the last errors.
        limit_seconds = self._settings.drain_timeout + _DRAIN_SECONDS
        drained = self._site.drain(limit_seconds)
        await maybeDeferred(self._proxy.stopService)
        self._site.abort_stalled()
        await drained
