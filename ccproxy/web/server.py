"""The HTTP server: endpoints, the limit of connections, and the drain at the end.

`ccproxy.web.channel` serves a single connection.
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
from ccproxy.web.channel import Phase, ProxyChannel
from ccproxy.web.context import NO_ROUTE
from ccproxy.web.endpoints import uses_tls
from ccproxy.web.head_checks import HeadChecks
from ccproxy.web.memory import MemoryBudget
from ccproxy.web.observer import OTHER, RequestObserver, RequestOutcome
from ccproxy.web.request import ProxyRequest

# Idle connections older than this may be evicted for a new connection.
_EVICTABLE_SECONDS = 1.0
# The most connections beyond the limit that get an error document. Further connections
# are aborted.
_MOST_REFUSED = 64
_RETRY_SECONDS = 1.0
# `abort_stalled` disconnects clients that have read nothing for this time.
_STALLED_SECONDS = 1.0
# The time limit of `drain` after `stop_now`: enough to send buffered data.
_STOP_NOW_SECONDS = 0.5


class ProxySite(Site):
    """The protocol factory of the server; limits and drains its connections."""

    noisy = False
    protocol = ProxyChannel  # type: ignore[assignment]  # HTTP/1.1 only

    def __init__(
        self,
        resource: IResource,
        head_checks: HeadChecks,
        clock: Any,
        observer: RequestObserver,
        memory: MemoryBudget,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=ProxyRequest,
            parsePOSTFormSubmission=False,
            reactor=clock,
        )
        # `ProxyChannel` has its own time limits. A received byte does not extend them.
        self.timeOut = None
        self.head_checks = head_checks
        self.memory = memory
        self._observer = observer
        # The oldest connection first.
        self._channels: dict[ProxyChannel, None] = {}
        self._drained: Deferred[None] | None = None
        self._limit: IDelayedCall | None = None
        self._is_stopping_now = False

    def connected(self, channel: ProxyChannel) -> None:
        """Register a new connection. Called by `ProxyChannel`.

        If there are too many, an idle connection is evicted, or the new one refused.
        """
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
        """Remove a closed connection. Called by `ProxyChannel`."""
        self._channels.pop(channel, None)
        if not self._channels and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def key_refused(self, peer: str) -> None:
        """Report a request without a valid key. Called by `ProxyChannel`."""
        self._observer.key_refused(peer)

    def refused(self, error: CCProxyError, identifier: str) -> None:
        """Report a request that was refused before its route. Called by `ProxyChannel`.

        Args:
            error: the reason of the refusal.
            identifier: the request's id.
        """
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
        """Close idle connections now, and other connections after their response.

        Call it once. Connections that are still open after ``seconds`` are aborted.

        Fires with None when all connections are closed.
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
        """Shorten the time limit of `drain`, even before `drain` is called."""
        self._is_stopping_now = True
        if self._limit is not None and self._limit.active():
            self._limit.reset(_STOP_NOW_SECONDS)

    def abort_stalled(self) -> None:
        """Abort connections whose client does not read; call it after all answers."""
        for channel in tuple(self._channels):
            channel.abort_if_stalled(_STALLED_SECONDS)

    def _abort(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.abortConnection()

    @override
    def log(self, request: object) -> None:
        """Write no access log: `RequestIdentity.ended` logs each request."""


def endpoint_of(reactor: Any, text: str) -> IStreamServerEndpoint:
    """Parse a Twisted endpoint string.

    Raises:
        SettingsError: the string is not a valid endpoint.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        # The parsers of endpoint strings have no common exception class.
        raise SettingsError(
            f"--listen: {text!r} is not an endpoint: {error}"
        ) from error
    return endpoint


def base_url(text: str, address: object) -> str:
    """The base URL of a listening endpoint, as arguments for curl.

    Args:
        text: the endpoint string.
        address: the address that the port reports.
    """
    scheme = "https" if uses_tls(text) else "http"
    match address:
        case IPv4Address(host=host, port=port):
            return f"{scheme}://{host}:{port}/v1"
        case IPv6Address(host=host, port=port):
            return f"{scheme}://[{host}]:{port}/v1"
        case UNIXAddress(name=name):
            return f"--unix-socket {os.fsdecode(name or '')} http://localhost/v1"
    return repr(address)
