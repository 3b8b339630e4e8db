"""Forwards a request to another server, and streams its response to the client.

The response is not buffered: while the client's socket is full, the connection to the
other server is paused. The body is not changed or decompressed. A server that sends
nothing for ``--silence-timeout`` has failed.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
    _HTTP11ClientFactory,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent
from twisted.web.server import Request
from typing_extensions import override
from zope.interface import implementer

from ccproxy.api.passthrough.targets import Target
from ccproxy.core.errors import CCProxyError, PassthroughFailed, ShuttingDown

CONNECT_SECONDS = 10.0
# The headers of the client's request that are forwarded.
_SENT = ("content-type", "accept", "accept-encoding", "user-agent")
# The headers of the response that are returned. The others describe the connection, or
# set cookies.
_RETURNED = (
    *("content-type", "content-encoding", "content-disposition"),
    *("retry-after", "cache-control"),
)

# Only these status codes are final responses of HTTP.
_CODES = range(200, 600)
_NO_RESPONSE = "the server of --passthrough for this route gave no HTTP response"


class Relay:
    """Forwards requests to other servers.

    Args:
        agent: sends the requests.
        clock: for time limits.
        silence_seconds: how long another server may send nothing.
    """

    def __init__(
        self, agent: IAgent, clock: IReactorTime, silence_seconds: float
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._under_way: dict[Deferred[None], _Silence] = {}

    async def drain(self, seconds: float) -> None:
        """Wait for the requests under way; those that take longer fail."""
        limit = self._clock.callLater(seconds, self._fail_all)
        while self._under_way:
            await DeferredList(list(self._under_way))
        if limit.active():
            limit.cancel()

    def _fail_all(self) -> None:
        for silence in tuple(self._under_way.values()):
            silence.end(ShuttingDown("the proxy is being stopped; try again"))

    async def send(
        self, request: Request, target: Target, path: bytes, body: bytes
    ) -> None:
        """Forward a request; returns when the whole response was sent to the client.

        Args:
            request: the client's request.
            target: the other server.
            path: the path to append to the target's URL: empty, or with a leading
                slash.
            body: the client's body.

        Raises:
            PassthroughFailed: the other server cannot be reached, sends nothing for too
                long, or closes the connection before the end of its response.
            ShuttingDown: the proxy stops, and the time limit of `drain` is over.
        """
        silence = _Silence(self._clock, self._silence_seconds)
        sent = Deferred.fromCoroutine(self._send(request, target, path, body, silence))
        silence.watch(sent.cancel)
        over: Deferred[None] = Deferred()
        self._under_way[over] = silence
        try:
            await sent
        except CancelledError:
            if silence.error is not None:
                raise silence.error from None
            raise
        finally:
            silence.stop()
            del self._under_way[over]
            over.callback(None)

    async def _send(
        self,
        request: Request,
        target: Target,
        path: bytes,
        body: bytes,
        silence: "_Silence",
    ) -> None:
        _, mark, query = request.uri.partition(b"?")
        asked: Deferred[Any] = self._agent.request(
            request.method,
            target.url + path + mark + query,
            _sent_headers(request, target),
            FileBodyProducer(BytesIO(body)),
        )
        try:
            response = await asked
        except CancelledError:
            raise
        except (ConnectError, DNSLookupError) as error:
            raise PassthroughFailed(
                "the server of --passthrough for this route cannot be reached; start "
                "the server, or correct its URL"
            ) from error
        except Exception as error:
            if _is_cancelled(error):
                raise CancelledError from error
            # The exceptions of Twisted's HTTP client have no common class.
            raise PassthroughFailed(_NO_RESPONSE) from error
        if response.code not in _CODES:
            response.deliverBody(_Refusal())
            raise PassthroughFailed(_NO_RESPONSE)
        request.setResponseCode(response.code)
        for name in _RETURNED:
            values = response.headers.getRawHeaders(name, [])
            if values:
                request.responseHeaders.setRawHeaders(name, values)
        if response.length is not UNKNOWN_LENGTH:
            request.setHeader("content-length", str(response.length))
        returning = _ResponseBody(request, silence)
        response.deliverBody(returning)
        await returning.whole


class _QuietFactory(_HTTP11ClientFactory):
    # Otherwise Twisted logs two lines for each connection.
    noisy = False


def new_agent(reactor: Any) -> Agent:
    """Make the agent for a `Relay`; it opens a connection for each request."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool._factory = _QuietFactory
    return Agent(reactor, connectTimeout=CONNECT_SECONDS, pool=pool)


class _Silence:
    """Cancels a request whose other server sends nothing for too long.

    Attributes:
        error: why the request was cancelled; None: it was not cancelled here.

    Args:
        clock: for the time limit.
        seconds: the limit.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.error: CCProxyError | None = None
        self._cancel: Callable[[], object] | None = None
        self._seconds = seconds
        self._clock = clock
        self._limit = clock.callLater(seconds, self._expired)

    def watch(self, cancel: Callable[[], object]) -> None:
        """Set the function that cancels the request."""
        self._cancel = cancel

    def heard(self) -> None:
        """Restart the time limit: the server has sent something, or may send again."""
        self.stop()
        self._limit = self._clock.callLater(self._seconds, self._expired)

    def stop(self) -> None:
        """Stop the time limit."""
        if self._limit.active():
            self._limit.cancel()

    def end(self, error: CCProxyError) -> None:
        """Cancel the request with an error."""
        self.error = error
        if self._cancel is not None:
            self._cancel()

    def _expired(self) -> None:
        self.end(
            PassthroughFailed(
                "the server of --passthrough for this route has sent nothing for "
                f"{self._seconds:g} seconds (see --silence-timeout)"
            )
        )


def _sent_headers(request: Request, target: Target) -> Headers:
    headers = Headers()
    for name in _SENT:
        values = request.requestHeaders.getRawHeaders(name, [])
        if values:
            headers.setRawHeaders(name, values)
    if target.key:
        headers.setRawHeaders("authorization", [f"Bearer {target.key}"])
    return headers


def _is_cancelled(error: Exception) -> bool:
    """Whether a request was cancelled after it was sent, as for a lost client."""
    reasons: Sequence[Failure] = getattr(error, "reasons", ())
    return any(reason.check(CancelledError) for reason in reasons)


class _Refusal(Protocol):
    """Closes the connection of a response that is not forwarded."""

    transport: Any

    @override
    def connectionMade(self) -> None:
        self.transport.stopProducing()


@implementer(IPushProducer)
class _ResponseBody(Protocol):
    """Writes the body of a response to the client.

    Attributes:
        whole: fires with None at the end of the body. Fails with `PassthroughFailed`
            if the connection is lost before.
    """

    transport: Any

    def __init__(self, request: Request, silence: _Silence) -> None:
        self._request = request
        self._silence = silence
        self.whole: Deferred[None] = Deferred(self._cancel)

    @override
    def connectionMade(self) -> None:
        self._heard()
        self._request.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Pause the other server, and stop the time limit of its silence."""
        self._silence.stop()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume the other server, and restart the time limit."""
        self._heard()
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close the connection, because the client's connection is closed."""
        self.transport.stopProducing()

    @override
    def dataReceived(self, data: bytes) -> None:
        self._heard()
        self._request.write(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        self._request.unregisterProducer()
        # PotentialDataLoss: the response has no length; it ends with the connection.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(None)
        else:
            self.whole.errback(
                PassthroughFailed(
                    "the server of --passthrough for this route closed the connection "
                    "before the end of its response"
                )
            )

    def _heard(self) -> None:
        if not self.whole.called:
            self._silence.heard()

    def _cancel(self, whole: "Deferred[None]") -> None:
        whole.errback(CancelledError())
        if self._request.channel is not None:
            # The client is still connected, and gets an error or the end.
            self._request.unregisterProducer()
        self.transport.stopProducing()
