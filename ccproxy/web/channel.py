"""One HTTP connection of the server: its requests, refusals and time limits.

`twisted.web` reads a whole body before the application can refuse the request. It does
not limit the size of a body, or the time of a client that sends one byte a minute. It
answers a malformed request with an empty 400, or closes the connection.

`ProxyChannel` checks the head of a request as soon as the head is complete, and refuses
a body as soon as the body is too large. Every refusal is an error document. After a
refusal, the connection stays open for two seconds, and received data is discarded. A
connection that is closed while the client is sending is reset, and the client loses the
document.

==========  ===============================================================
IDLE        between two requests
HEAD        the head is being received, or the connection is new
BODY        the head was accepted; the body is being received
ANSWERING   the request is complete; a route answers, without a time limit
CLOSING     the last response is written; received data is discarded
==========  ===============================================================

Source: docs/twisted-notes.md, "Klein and HTTP" and "Shutdown"; RFC 9112.
"""

import re
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    ISSLTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.server import Request
from typing_extensions import override
from zope.interface import implementer

from ccproxy.core.errors import (
    CCProxyError,
    InvalidKey,
    InvalidRequest,
    RequestTimedOut,
    RequestTooLarge,
)
from ccproxy.web.error_formats import OPENAI, format_of
from ccproxy.web.half_close import HalfCloseProbe
from ccproxy.web.head_checks import Head, HeadChecks
from ccproxy.web.memory import HeldMemory
from ccproxy.web.observer import peer_name
from ccproxy.web.replies import error_headers, new_request_id
from ccproxy.web.request import ProxyRequest

# A logger of the module, not of a class: log events of a class's logger refer to the
# object, and Twisted keeps the events in memory until logging begins.
_log = Logger()

# How long data is received and discarded after a refusal.
_LINGER_SECONDS = 2.0
# The largest amount of pipelined data that is kept while a request is answered. It is
# Twisted's limit, too.
_MOST_PIPELINED = 16_384
# A `Content-Length` of more digits is always too large, and slow to parse.
_MOST_DIGITS = 15

_LINE_END = re.compile(rb"[\r\n]")
_LENGTH = re.compile(rb"content-length[ \t]*:[ \t]*(\d+)[ \t]*\Z", re.IGNORECASE)


class Phase(Enum):
    """The phase of a connection; see the table in the module's docstring."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    CLOSING = auto()


@implementer(IHalfCloseableProtocol)
class ProxyChannel(HTTPChannel):
    """A connection that answers every request, even a malformed one."""

    site: Any
    transport: Any
    requests: list[Request]
    phase = Phase.HEAD
    # The request target. Twisted sets it when it has parsed a request line.
    _path = b""
    _deadline: IDelayedCall | None = None
    _next: IDelayedCall | None = None
    _reading: IDelayedCall | None = None
    _since_seconds = 0.0
    _stalled_since_seconds = 0.0
    _pipelined_bytes = 0

    @property
    def head_checks(self) -> HeadChecks:
        """The checks of a request's head."""
        head_checks: HeadChecks = self.site.head_checks
        return head_checks

    @property
    def waiting_seconds(self) -> float:
        """How long the connection has waited for a request or the rest of its head.

        0 while a request is in progress, or while the client reads a response.
        """
        if self.phase not in (Phase.IDLE, Phase.HEAD) or self._reading is not None:
            return 0.0
        waited: float = self.site.reactor.seconds() - self._since_seconds
        return waited

    @override
    def connectionMade(self) -> None:
        # The memory of finished responses that the client has not read yet.
        self._unread: list[HeldMemory] = []
        self._probe = HalfCloseProbe(self.transport.write, self.callLater)
        super().connectionMade()
        self._enter(Phase.HEAD, self.head_checks.limits.head_timeout)
        self.site.connected(self)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._enter(Phase.CLOSING)
        self._probe.stop()
        self._stop_reading()
        self._release_unread()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        super().connectionLost(reason)
        self.site.disconnected(self)

    def readConnectionLost(self) -> None:  # noqa: N802  # Twisted's name
        """Answer the request of a client that will send nothing more."""
        if self.phase is not Phase.ANSWERING:
            self.transport.loseConnection()
        elif self.requests[0].clientproto == b"HTTP/1.1":
            self._probe.start(self.requests[0])
        else:
            # An older client understands no interim response.
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:  # noqa: N802  # Twisted's name
        """Do nothing: `refuse` has ended this half of the connection."""

    def head(self, request: Request, length: int | None) -> Head:
        """The head that has just been received.

        Args:
            request: the request, with its headers.
            length: the ``Content-Length``; None: the body is chunked.
        """
        is_unix = isinstance(self.transport.getHost(), UNIXAddress)
        return Head(
            target=self._path,
            version=self._version,
            fields=request.requestHeaders,
            length=length,
            is_sheltered=is_unix or self.isSecure(),
        )

    def let_in(self) -> None:
        """Begin to read the body: the head was accepted. Called by `ProxyRequest`."""
        self._enter(Phase.BODY, self.head_checks.limits.body_timeout)

    def answering(self) -> None:
        """Begin to answer: the request is complete. Called by `ProxyRequest`."""
        self._pipelined_bytes = 0
        self._enter(Phase.ANSWERING)

    @override
    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        # A chunk has four parts. Twisted's own method makes one write for each part.
        self.transport.write(b"".join(iovec))

    @override
    def requestDone(self, request: ProxyRequest) -> None:
        self._probe.stop()
        if self._reading is None:
            request.memory.release()
        else:
            # The end of the response stays in memory until the client has read it.
            self._unread.append(request.memory)
        self._enter(Phase.IDLE, self.head_checks.limits.keep_alive_timeout)
        # A read may have a thousand requests. Each takes a turn of the reactor.
        has_more = bool(self._buffer or self._dataBuffer)
        self.paused = has_more
        super().requestDone(request)
        if has_more and self.persistent:
            self._networkProducer.pauseProducing()
            self._next = self.callLater(0, self._take_next)

    def _take_next(self) -> None:
        self._next = None
        self.paused = False
        self.dataReceived(b"")
        if not (self._handlingRequest or self._waitingForTransport or self._next):
            self._networkProducer.resumeProducing()

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(InvalidRequest("a line of the request's head is too long"))

    @override
    def dataReceived(self, data: bytes) -> None:
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD, self.head_checks.limits.head_timeout)
        if self.phase is not Phase.CLOSING:
            super().dataReceived(data)

    @override
    def lineReceived(self, line: bytes) -> None:
        # After a refusal, the parser's buffer can still contain received lines.
        if self.phase is Phase.CLOSING:
            return
        if line[:1] in (b" ", b"\t") or _LINE_END.search(line):
            # Other servers parse a folded header line, or a line that contains a lone
            # CR or LF, as a separate header. Twisted 25.5 to 26.4 accepts both.
            self._respondToBadRequestAndDisconnect()
        else:
            super().lineReceived(line)

    @override
    def headerReceived(self, line: bytes) -> bool:
        length = _LENGTH.match(line)
        if length is not None and len(length[1]) > _MOST_DIGITS:
            self.refuse(RequestTooLarge("the request body is too large"))
            return False
        taken: bool = super().headerReceived(line)
        return taken

    @override
    def rawDataReceived(self, data: bytes) -> None:
        if self.phase is Phase.CLOSING:
            return
        if self.phase is not Phase.ANSWERING:
            super().rawDataReceived(data)
            return
        # Twisted's own method would stop reading, and then not notice a disconnect.
        self._pipelined_bytes += len(data)
        if self._pipelined_bytes <= _MOST_PIPELINED:
            self._dataBuffer.append(data)
        else:
            self._dataBuffer.clear()
            self.persistent = False

    @override
    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._expect_reader()

    @override
    def resumeProducing(self) -> None:
        self._stop_reading()
        self._release_unread()
        super().resumeProducing()

    @override
    def loseConnection(self) -> None:
        self._enter(Phase.CLOSING)
        self._expect_reader()
        super().loseConnection()

    @override
    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(InvalidRequest("this is not a well-formed HTTP/1.1 request"))

    def refuse(self, error: CCProxyError) -> None:
        """Send an error response, even while the client is sending; then close."""
        if self.phase is Phase.CLOSING:
            return
        fields = self.requests[-1].requestHeaders if self.requests else None
        cors = fields.getRawHeaders(b"origin", []) if fields is not None else []
        error_format = OPENAI if fields is None else format_of(self._path, fields)
        status, identifier = error_format.status(error), new_request_id()
        document = error_format.document(error, identifier)
        headers = {
            **error_headers(error),
            **self.head_checks.cors.headers(cors),
            "content-length": str(len(document)),
            "connection": "close",
            "x-request-id": identifier,
        }
        if error_format.id_header is not None:
            headers[error_format.id_header] = identifier
        reason = RESPONSES.get(status, b"Error").decode()
        head = [f"HTTP/1.1 {status} {reason}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        is_key = isinstance(error, InvalidKey)
        _log.emit(
            LogLevel.debug if is_key else LogLevel.info,
            "{id} refused with {status} {code}",
            id=identifier,
            status=status,
            code=error.code,
        )
        if is_key:
            self.site.key_refused(peer_name(self.transport.getPeer()))
        self.site.refused(error, identifier)
        self.transport.write("\r\n".join([*head, "", ""]).encode() + document)
        if not ISSLTransport.providedBy(self.transport):
            self.transport.loseWriteConnection()
        self._enter(Phase.CLOSING, _LINGER_SECONDS)

    def abort_if_stalled(self, seconds: float) -> None:
        """Abort the connection if its client has read nothing for ``seconds``."""
        stalled_seconds = self.site.reactor.seconds() - self._stalled_since_seconds
        if self._reading is not None and stalled_seconds >= seconds:
            self.transport.abortConnection()

    def _enter(self, phase: Phase, seconds: float | None = None) -> None:
        self.phase = phase
        self._since_seconds = self.site.reactor.seconds()
        if self._deadline is not None and seconds is not None:
            self._deadline.reset(seconds)
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif seconds is not None:
            self._deadline = self.callLater(seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        if self.phase is Phase.IDLE and self._reading is not None:
            # The client is still reading the last response.
            self._enter(Phase.IDLE, self.head_checks.limits.keep_alive_timeout)
        elif self.phase is Phase.BODY or (self.phase is Phase.HEAD and self.requests):
            self.refuse(
                RequestTimedOut(
                    "the request took too long to arrive; see --head-timeout and "
                    "--body-timeout"
                )
            )
        else:
            self.transport.abortConnection()

    def _expect_reader(self) -> None:
        if self._reading is None:
            self._stalled_since_seconds = self.site.reactor.seconds()
            seconds = self.head_checks.limits.reader_timeout
            self._reading = self.callLater(seconds, self._never_read)

    def _never_read(self) -> None:
        self._reading = None
        _log.info("aborted the connection of a client that does not read")
        self.transport.abortConnection()

    def _release_unread(self) -> None:
        for memory in self._unread:
            memory.release()
        self._unread.clear()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
