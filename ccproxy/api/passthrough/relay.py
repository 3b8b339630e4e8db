"""Sends a request to another server, and returns that server's response as it comes.

The response is never held in memory: while the client's socket is full, the connection
to the other server is paused. Bytes are not changed, and nothing is decompressed.
"""

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
# Headers that describe the client's request.
_SENT = ("content-type", "accept", "accept-encoding", "user-agent")
# Headers that describe the response. Others are about the connection, or are cookies.
_RETURNED = (
    *("content-type", "content-encoding", "content-disposition"),
    *("retry-after", "cache-control"),
)


class Relay:
    """Sends requests to other servers.

    Args:
        agent: makes the requests.
    """

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def send(
        self, request: Request, target: Target, path: bytes, body: bytes
    ) -> None:
        """Send a request; returns when its whole response has been sent to the client.

        Args:
            request: the client's request.
            target: the other server.
            path: what is appended to the target's URL, with a leading slash; or empty.
            body: the client's body.

        Raises:
            PassthroughFailed: the other server cannot be reached, or ends the
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
                "it, or correct its URL"
            ) from error
        except Exception as error:
            # Twisted's HTTP client fails with exceptions of many classes.
            raise PassthroughFailed(
                "the server of --passthrough for this route gave no HTTP response"
            ) from error
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
    """The agent for a `Relay`: a connection for each request."""
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


class _ResponseBody(Protocol):
    """Writes the body of a response to the client.

    Attributes:
        whole: fires at the end of the body; fails if there is none.
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
        # PotentialDataLoss: the end of the connection is the end of the body.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(None)
        else:
            self.whole.errback(
                PassthroughFailed(
                    "the server of --passthrough for this route has broken off its "
                    "response"
                )
            )

    def _cancel(self, _: object) -> None:
        self.transport.stopProducing()
