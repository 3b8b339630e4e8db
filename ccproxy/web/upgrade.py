"""The WebSocket handshake: turns a request's connection into a `WebSocket`.

Source: RFC 6455, "Opening Handshake"; `twisted.web.websocket` takes over a channel in
the same way.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from h11 import ProtocolError as H11ProtocolError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from ccproxy.core.errors import InvalidRequest, OriginNotAllowed, UpgradeRequired
from ccproxy.web.access import CORSPolicy
from ccproxy.web.memory import HeldMemory
from ccproxy.web.replies import request_id
from ccproxy.web.websocket import BUG, SocketClosed, SocketLimits, WebSocket

_SWITCHING_PROTOCOLS = 101

_log = Logger()


def check_upgrade(request: Request, cors: CORSPolicy) -> H11Handshake:
    """Check a handshake request; returns the handshake that accepts it.

    Args:
        request: the request.
        cors: the sites whose pages may connect, besides this server's own.

    Raises:
        UpgradeRequired: the request does not ask for a WebSocket, or asks for another
            version than 13.
        OriginNotAllowed: a page of another site sent the request.
        InvalidRequest: the handshake is malformed.
    """
    headers = request.requestHeaders
    upgrade = b",".join(headers.getRawHeaders(b"upgrade", [])).lower()
    if b"websocket" not in upgrade:
        raise UpgradeRequired(
            "GET here is for WebSockets: send `Upgrade: websocket`, or use POST"
        )
    for version in headers.getRawHeaders(b"sec-websocket-version", []):
        if version.strip() != b"13":
            request.setHeader("sec-websocket-version", "13")
            raise UpgradeRequired(
                "only version 13 of the WebSocket protocol is supported"
            )
    # Browsers always send `Origin`, and scripts cannot change it. Most other clients
    # send none.
    given = headers.getRawHeaders(b"origin", [])
    own = [h.decode("latin-1") for h in headers.getRawHeaders(b"host", [])]
    for origin in () if cors.allows(given) else given:
        host = _host_of(origin.decode("latin-1"))
        if not host or host not in [name.strip().lower() for name in own]:
            raise OriginNotAllowed(
                "pages of other sites may not connect to this proxy; to allow a site, "
                "start the proxy with --cors-origin SITE"
            )
    handshake = H11Handshake(ConnectionType.SERVER)
    raw = headers.getAllRawHeaders()
    pairs = [(name.lower(), value) for name, values in raw for value in values]
    try:
        handshake.initiate_upgrade_connection(pairs, request.path)
    except (RemoteProtocolError, H11ProtocolError, ValueError):
        # The messages of these exceptions can quote headers, which must not be logged.
        raise InvalidRequest("this is not a WebSocket handshake (RFC 6455)") from None
    return handshake


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def serve_websocket(
    request: Request,
    talk: Callable[[WebSocket], Awaitable[None]],
    limits: SocketLimits,
    cors: CORSPolicy,
    clock: IReactorTime,
    memory: HeldMemory,
) -> None:
    """Accept a handshake, and serve the WebSocket until its connection is closed.

    Nothing may be written to the request afterwards.

    Args:
        request: its channel's data is passed to the WebSocket.
        talk: serves the WebSocket. It is cancelled when the peer disconnects. When it
            returns, the socket is closed.
        limits: the limits of the socket.
        cors: the sites whose pages may connect, besides this server's own.
        clock: the reactor.
        memory: counts the received messages that wait.

    Raises:
        CCProxyError: `check_upgrade` refuses the request; nothing has been written.
    """
    handshake = check_upgrade(request, cors)
    channel: Any = request.channel
    transport = channel.transport
    accept = AcceptConnection(
        extra_headers=[(b"x-request-id", request_id(request).encode())]
    )
    transport.write(handshake.send(accept))
    request.setResponseCode(_SWITCHING_PROTOCOLS)
    connection = handshake.connection
    if connection is None:
        raise InvalidRequest("this is not a WebSocket handshake")
    socket = WebSocket(connection, transport, limits, clock, memory)
    # Only the channel's `dataReceived` is replaced. The request stays with the channel:
    # when the connection is lost, the channel notifies Klein, and Klein cancels this
    # coroutine.
    channel.setTimeout(None)
    channel.dataReceived = socket.data_received
    request.registerProducer(socket, True)
    talking = Deferred.fromCoroutine(_talk(socket, talk))
    try:
        await Deferred()
    except CancelledError:
        # The connection is closed.
        return
    finally:
        socket.connection_lost()
        talking.cancel()
        del channel.dataReceived


async def _talk(
    socket: WebSocket, talk: Callable[[WebSocket], Awaitable[None]]
) -> None:
    try:
        await talk(socket)
    except (SocketClosed, CancelledError):
        return
    except Exception:  # noqa: BLE001  # the outermost handler: the peer must get a close frame
        _log.failure("a WebSocket's conversation failed")
        socket.close(BUG, "the proxy has a bug; see its log")
    else:
        socket.close()
