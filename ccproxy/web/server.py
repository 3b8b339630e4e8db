"""Our own HTTP server: its connections, how many there may be, and their end.

What happens on one of them is `ccproxy.web.channel`'s business.
"""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.web.resource import IResource
from twisted.web.server import Site
from typing_extensions import override

from ccproxy.core.errors import CCProxyError, TooManyConnections
from ccproxy.web.auth import NO_KEY
from ccproxy.web.channel import Phase, ProxyChannel, ProxyRequest
from ccproxy.web.context import NO_ROUTE
from ccproxy.web.head_checks import HeadChecks
from ccproxy.web.observer import RequestObserver, RequestOutcome
from ccproxy.web.user_agents import OTHER

# Whoever has asked nothing for so long makes room for who has just come.
_PATIENCE_SECONDS = 1.0
# How many beyond the limit are told so; others are hung up on.
_MOST_TOLD = 64
_RETRY_SECONDS = 1.0
# When all answers have been ended, who did not read for so long will not begin to.
_STANDING_SECONDS = 1.0
# What an answer that is ended in haste has to reach its client.
_HASTE_SECONDS = 0.5


class ProxySite(Site):
    """The server's factory: knows who may come in, and its open connections."""

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
        # The channels have clocks of their own, which a byte a minute does not stop.
        self.timeOut = None
        self.head_checks = head_checks
        self._observer = observer
        # In the order in which they were made.
        self._channels: dict[ProxyChannel, None] = {}
        self._drained: Deferred[None] | None = None
        self._limit: IDelayedCall | None = None
        self._is_in_haste = False

    def connected(self, channel: ProxyChannel) -> None:
        """Note a connection, and see to it that there is room; the channel calls it."""
        self._channels[channel] = None
        excess = len(self._channels) - self.head_checks.limits.max_connections
        if excess <= 0:
            return
        for other in self._channels:
            if other.waiting_seconds >= _PATIENCE_SECONDS:
                other.transport.abortConnection()
                # It may take a moment until it is lost.
                self.disconnected(other)
                return
        if excess > _MOST_TOLD:
            channel.transport.abortConnection()
            return
        channel.refuse(
            TooManyConnections(
                "there are too many connections to this proxy; try again, or start it "
                "with more --max-connections",
                retry_after_seconds=_RETRY_SECONDS,
            )
        )

    def disconnected(self, channel: ProxyChannel) -> None:
        """Forget a connection; called by the channel."""
        self._channels.pop(channel, None)
        if not self._channels and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def refused(self, error: CCProxyError, identifier: str) -> None:
        """Count a request that reached no route; called by the channel."""
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
        """Close idle connections now, busy ones after their answer.

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
        if self._is_in_haste:
            seconds = _HASTE_SECONDS
        limit = self._limit = self.reactor.callLater(seconds, self._abort)

        def done(_: None) -> None:
            if limit.active():
                limit.cancel()

        return drained.addCallback(done)

    def stop_now(self) -> None:
        """Let `drain` give connections only a moment for what is left to be sent."""
        self._is_in_haste = True
        if self._limit is not None and self._limit.active():
            self._limit.reset(_HASTE_SECONDS)

    def abort_stalled(self) -> None:
        """Hang up on clients that do not read, now that there is no more to come."""
        for channel in tuple(self._channels):
            channel.abort_if_stalled(_STANDING_SECONDS)

    def _abort(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.abortConnection()

    @override
    def log(self, request: object) -> None:
        """Write nothing: the routes log what is worth it."""
