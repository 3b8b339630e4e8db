"""Forwards a request to another server, and streams its response to the client.

The response is not buffered: while the client's socket is full, the connection to the
other server is paused. The body is not changed or decompressed.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent
from twisted.web.server import Request
from typing_extensions import override

from ccproxy.api.passthrough.targets import Target
from ccproxy.core.errors import PassthroughFailed

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
    """

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

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
            PassthroughFailed: the other server cannot be reached, or closes the
                connection before the end of its response.
        """
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
        returning = _ResponseBody(request)
        response.deliverBody(returning)
        await returning.whole


def new_agent(reactor: Any) -> Agent:
    """Make the agent for a `Relay`; it opens a connection for each request."""
    return Agent(reactor, connectTimeout=CONNECT_SECONDS)


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


class _ResponseBody(Protocol):
    """Writes the body of a response to the client.

    Attributes:
        whole: fires with None at the end of the body. Fails with `PassthroughFailed`
            if the connection is lost before.
    """

    transport: Any

    def __init__(self, request: Request) -> None:
        self._request = request
        self.whole: Deferred[None] = Deferred(self._cancel)

    @override
    def connectionMade(self) -> None:
        self._request.registerProducer(self.transport, True)

    @override
    def dataReceived(self, data: bytes) -> None:
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

    def _cancel(self, whole: "Deferred[None]") -> None:
        whole.errback(CancelledError())
        self.transport.stopProducing()
