"""Our own HTTP server: refuses early, answers always, drains when it stops.

Twisted reads a whole body before anything is asked about it, knows no limit, and
answers bad requests with an empty 400 or by hanging up. Here the gate is asked
when the headers are there, a body that grows too large is refused on the spot,
and every refusal is an error document that the client gets to see: what it still
sends is read and thrown away for a moment, because closing at once would reset
the connection under the answer.

Source: Twisted facts, "Klein and HTTP" and "Shutdown".
"""

import re
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from typing_extensions import override

from ccproxy.dialects.error import error_document
from ccproxy.errors import CCProxyError, InvalidRequest
from ccproxy.web.clients import OTHER
from ccproxy.web.exchange import NO_ROUTE
from ccproxy.web.gate import NO_KEY, Gate
from ccproxy.web.observer import Observer, RequestEnd
from ccproxy.web.response import error_headers, new_request_id

# How long a refused client may go on sending into the void.
_LINGER_SECONDS = 2.0


_ABSOLUTE = re.compile(rb"^https?://[^/?]*", re.IGNORECASE)


class ProxyRequest(Request):
    """A request whose body is read only if its headers pass the gate."""

    channel: Any
    content: Any
    defaultContentType = b"application/json"
    _refused = False
    _received_bytes = 0

    @override
    def gotLength(self, length: int | None) -> None:
        # Without a body there is nothing to be saved; the routes ask the gate.
        if length != 0:
            gate: Gate = self.channel.site.gate
            headers = self.requestHeaders
            try:
                gate.check_key(headers.getRawHeaders(b"authorization", []))
                gate.check_size(length or 0)
            except CCProxyError as error:
                self._refuse(error)
                return
        self.content = BytesIO()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        self._received_bytes += len(data)
        try:
            self.channel.site.gate.check_size(self._received_bytes)
        except CCProxyError as error:
            self._refuse(error)
        else:
            self.content.write(data)

    @override
    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._refused:
            # The absolute form, which RFC 9112 has every server accept.
            own_path = _ABSOLUTE.sub(b"", path, count=1)
            super().requestReceived(command, own_path or b"/", version)

    def _refuse(self, error: CCProxyError) -> None:
        self._refused = True
        self.content = None
        # Or the channel would invite the client to send its body.
        self.requestHeaders.removeHeader(b"expect")
        self.channel.refuse(error)


class ProxyChannel(HTTPChannel):
    """A connection that never hangs up without an answer."""

    _log = Logger()
    site: Any
    transport: Any
    requests: list[Request]
    _lingering: IDelayedCall | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun."""
        return not self.requests

    @override
    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connected(self)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        super().connectionLost(reason)
        self.site.disconnected(self)

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(InvalidRequest("a line of the request's head is too long"))

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._lingering is None:
            super().dataReceived(data)

    @override
    def lineReceived(self, line: bytes) -> None:
        # What came in one piece with the refused is still in the parser's buffer.
        if self._lingering is None:
            super().lineReceived(line)

    @override
    def rawDataReceived(self, data: bytes) -> None:
        if self._lingering is None:
            super().rawDataReceived(data)

    @override
    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(InvalidRequest("this is not a well-formed HTTP/1.1 request"))

    def refuse(self, error: CCProxyError) -> None:
        """Answer with an error, whatever the client is still sending, and close."""
        if self._lingering is not None:
            return
        document = error_document(error)
        headers = {
            **error_headers(error),
            "content-length": str(len(document)),
            "connection": "close",
            "x-request-id": new_request_id(),
        }
        reason = RESPONSES.get(error.status, b"Error").decode()
        head = [f"HTTP/1.1 {error.status} {reason}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        self._log.info(
            "{id} refused with {status} {code}",
            id=headers["x-request-id"],
            status=error.status,
            code=error.code,
        )
        self.site.refused(error)
        self.transport.write("\r\n".join([*head, "", ""]).encode() + document)
        if not ISSLTransport.providedBy(self.transport):
            self.transport.loseWriteConnection()
        self.setTimeout(None)
        self._lingering = self.callLater(_LINGER_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        self._lingering = None
        self.transport.abortConnection()


class ProxySite(Site):
    """The server's factory: knows the gate and its open connections."""

    noisy = False
    protocol = ProxyChannel  # type: ignore[assignment]  # HTTP/1.1 only

    def __init__(
        self,
        resource: IResource,
        gate: Gate,
        clock: IReactorTime,
        observer: Observer,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=ProxyRequest,
            parsePOSTFormSubmission=False,
            reactor=clock,
        )
        self.gate = gate
        self._observer = observer
        self._clock = clock
        self._channels: set[ProxyChannel] = set()
        self._drained: Deferred[None] | None = None

    def connected(self, channel: ProxyChannel) -> None:
        """Note a connection; called by the channel."""
        self._channels.add(channel)

    def disconnected(self, channel: ProxyChannel) -> None:
        """Forget a connection; called by the channel."""
        self._channels.discard(channel)
        if not self._channels and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def refused(self, error: CCProxyError) -> None:
        """Count a request that reached no route; called by the channel."""
        self._observer.request_ended(
            RequestEnd(
                route=NO_ROUTE,
                status=error.status,
                finish=error.code,
                model="",
                usage=None,
                cost_usd=None,
                seconds=0.0,
                key=NO_KEY,
                client=OTHER,
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
            if channel.is_idle:
                channel.transport.loseConnection()
            else:
                channel.persistent = False
        limit = self._clock.callLater(seconds, self._abort)

        def done(_: None) -> None:
            if limit.active():
                limit.cancel()

        return drained.addCallback(done)

    def _abort(self) -> None:
        for channel in tuple(self._channels):
            channel.transport.abortConnection()

    @override
    def log(self, request: object) -> None:
        """Write nothing: the routes log what is worth it."""
