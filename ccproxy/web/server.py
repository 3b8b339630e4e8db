"""The HTTP server: its endpoints, its connections, their number, and their end.

What happens on one of them is `ccproxy.web.channel`'s business.
"""

import os
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IDelayedCall, IStreamServerEndpoint
from twisted.web.resource import IResource
from twisted.web.server import Site
from typing_extensions import override

from ccproxy.config.settings import SettingsError
from ccproxy.core.errors import CCProxyError, ServerFull
from ccproxy.web.access import NO_KEY
from ccproxy.web.channel import Phase, ProxyChannel, ProxyRequest
from ccproxy.web.context import NO_ROUTE
from ccproxy.web.head_checks import BodyBudget, HeadChecks
from ccproxy.web.observer import OTHER, RequestObserver, RequestOutcome

# Idle connections older than this may be evicted for a new connection.
_EVICTABLE_SECONDS = 1.0
# The most connections beyond the limit that get an error document; further ones are
# closed at once.
_MOST_REFUSED = 64
_RETRY_SECONDS = 1.0
# When all answers are over, a client that has read nothing for this long is
# disconnected.
_STALLED_SECONDS = 1.0
# The time for the last data of an answer when the server is stopped at once.
_STOP_NOW_SECONDS = 0.5


class ProxySite(Site):
    """The factory of the server's connections; knows the open ones."""

    noisy = False
    protocol = ProxyChannel  # type: ignore[assignment]  # HTTP/1.1 only

    def __init__(
        self,
        resource: IResource,
        head_checks: HeadChecks,
        clock: Any,
        observer: RequestObserver,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=ProxyRequest,
            parsePOSTFormSubmission=False,
            reactor=clock,
        )
        # The channels have time limits of their own, which single bytes do not extend.
        self.timeOut = None
        self.head_checks = head_checks
        self.bodies = BodyBudget(head_checks.limits.max_bodies)
        self._observer = observer
        # The oldest connection first.
        self._channels: dict[ProxyChannel, None] = {}
        self._drained: Deferred[None] | None = None
        self._limit: IDelayedCall | None = None
        self._is_stopping_now = False

    def connected(self, channel: ProxyChannel) -> None:
        """Count a new connection, and evict one if there are too many; for channels."""
        self._channels[channel] = None
        excess = len(self._channels) - self.head_checks.limits.max_connections
        if excess <= 0:
            return
        for other in self._channels:
            if other.waiting_seconds >= _EVICTABLE_SECONDS:
                other.transport.abortConnection()
                # The transport can take a moment to report the loss.
                self.disconnected(other)
                return
        if excess > _MOST_REFUSED:
            channel.transport.abortConnection()
            return
        channel.refuse(
            ServerFull(
                "there are too many connections to this proxy; try again, or start it "
                "with more --max-connections",
                retry_after_seconds=_RETRY_SECONDS,
            )
        )

    def disconnected(self, channel: ProxyChannel) -> None:
        """Forget a connection; for channels."""
        self._channels.pop(channel, None)
        if not self._channels and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def key_refused(self, peer: str) -> None:
        """Report a wrong key, before `refused`; for channels."""
        self._observer.key_refused(peer)

    def refused(self, error: CCProxyError, identifier: str) -> None:
        """Count a request that was refused before it had a route; for channels."""
        self._observer.request_ended(
            RequestOutcome(
                route=NO_ROUTE,
                status=error.status,
                finish=error.code,
                model="",
                usage=None,
                cost_usd=None,
                seconds=0.0,
                key=NO_KEY,
                client=OTHER,
                id=identifier,
                is_error=True,
                answering_seconds=None,
            )
        )

    def drain(self, seconds: float) -> "Deferred[None]":
        """Close idle connections now, and busy ones after their response.

        Fires when all are closed, at the latest after ``seconds``; once only.
        """
        if not self._channels:
            return succeed(None)
        drained = self._drained = Deferred()
        for channel in tuple(self._channels):
            if channel.phase is Phase.IDLE or not channel.requests:
                channel.transport.loseConnection()
            else:
                channel.persistent = False
        if self._is_stopping_now:
            seconds = _STOP_NOW_SECONDS
        limit = self._limit = self.reactor.callLater(seconds, self._abort)

        def done(_: None) -> None:
            if limit.active():
                limit.cancel()

        return drained.addCallback(done)

    def stop_now(self) -> None:
        """Shorten the time limit of `drain`, so that only buffered data is sent."""
        self._is_stopping_now = True
        if self._limit is not None and self._limit.active():
            self._limit.reset(_STOP_NOW_SECONDS)

    def abort_stalled(self) -> None:
        """Disconnect clients that do not read; call it when all answers are over."""
        for channel in tuple(self._channels):
            channel.abort_if_stalled(_STALLED_SECONDS)

    def _abort(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.abortConnection()

    @override
    def log(self, request: object) -> None:
        """Write nothing: the routes log what is worth it."""


def endpoint_of(reactor: Any, text: str) -> IStreamServerEndpoint:
    """The endpoint that a string means.

    Raises:
        SettingsError: Twisted does not understand it.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        # Each parser of endpoint strings fails with exceptions of different classes.
        raise SettingsError(
            f"--listen: {text!r} is not an endpoint: {error}"
        ) from error
    return endpoint


def uses_tls(text: str) -> bool:
    """Whether clients of an endpoint have to speak TLS."""
    return text.startswith(("ssl:", "tls:"))


def is_inherited(text: str) -> bool:
    """Whether an endpoint is a socket that systemd passes to the process."""
    return text.startswith("systemd:")


def base_url(text: str, address: object) -> str:
    """The address of a listening endpoint, as curl takes it."""
    scheme = "https" if uses_tls(text) else "http"
    match address:
        case IPv4Address(host=host, port=port):
            return f"{scheme}://{host}:{port}/v1"
        case IPv6Address(host=host, port=port):
            return f"{scheme}://[{host}]:{port}/v1"
        case UNIXAddress(name=name):
            return f"--unix-socket {os.fsdecode(name or '')} http://localhost/v1"
    return repr(address)
