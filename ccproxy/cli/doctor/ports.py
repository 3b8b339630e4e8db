"""Checks whether the server can listen on an endpoint, by opening it for a moment."""

from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from typing_extensions import override
from zope.interface import implementer

from ccproxy.cli.doctor.results import CheckResult, CheckStatus
from ccproxy.cli.readiness import LOOPBACK_OF
from ccproxy.web.endpoints import is_inherited, uses_tls
from ccproxy.web.server import base_url, endpoint_of

_ANSWER_SECONDS = 5.0
_LONGEST_BODY = 100
_REMEDIES = {
    EACCES: "choose a port from 1024 up with --port, or another place for the socket",
    EADDRNOTAVAIL: "this machine has no such address; see --host",
    EADDRINUSE: "stop that program, or choose another port with --port",
}


class _NoService(Factory):
    """Refuses connections during the check."""

    @override
    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return None


async def examine_endpoint(reactor: Any, text: str) -> CheckResult:
    """Check that an endpoint is free, or that a ccproxy already answers there.

    Raises:
        SettingsError: the endpoint string is not valid.
    """
    if is_inherited(text):
        return _port(CheckStatus.SKIPPED, f"{text} comes from systemd")
    try:
        port: Any = await endpoint_of(reactor, text).listen(_NoService())
    except CannotListenError as error:
        return await _taken(reactor, text, error)
    except OSError as error:
        message = f"cannot listen on {text}: {error.strerror or error}"
        return _port(CheckStatus.WRONG, message, "see --port and --listen")
    place = base_url(text, port.getHost())
    await maybeDeferred(port.stopListening)
    if text.startswith("tcp:0:"):
        return _port(CheckStatus.OK, f"any free port, as set by {text}")
    return _port(CheckStatus.OK, f"free: {place}")


async def _taken(reactor: Any, text: str, error: CannotListenError) -> CheckResult:
    number = getattr(error.socketError, "errno", None)
    why = getattr(error.socketError, "strerror", None) or error.socketError
    is_socket = isinstance(error.port, str | bytes)
    if number == EADDRINUSE or is_socket:
        if uses_tls(text):
            message = f"{text} is in use; whether by a ccproxy is not checked over TLS"
            return _port(CheckStatus.NOTE, message, "try `curl -k https://…/health`")
        if await _is_ccproxy(reactor, error):
            return _port(CheckStatus.OK, f"a ccproxy already answers on {text}")
    remedy = _REMEDIES.get(number or EADDRINUSE, "see --port and --listen")
    return _port(CheckStatus.WRONG, f"cannot listen on {text}: {why}", remedy)


async def _is_ccproxy(reactor: Any, error: CannotListenError) -> bool:
    """Whether a ccproxy answers ``GET /health`` at the endpoint; no key is sent."""
    interface = error.interface or ""
    host = LOOPBACK_OF.get(interface, interface)
    authority = f"[{host}]" if ":" in host else host
    agent: Any = Agent(reactor)
    url = f"http://{authority}:{error.port}/health"
    if isinstance(error.port, str | bytes):
        agent = Agent.usingEndpointFactory(reactor, _Socket(reactor, error.port))
        url = "http://localhost/health"
    asked = Deferred.fromCoroutine(_health(agent, url.encode()))
    asked.addTimeout(_ANSWER_SECONDS, reactor)
    try:
        return await asked
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001  # whatever fails, no ccproxy has answered
        return False


async def _health(agent: Any, url: bytes) -> bool:
    response = await agent.request(b"GET", url)
    body = _Body()
    response.deliverBody(body)
    return await body.whole == b"ok" and response.headers.hasHeader(b"x-request-id")


class _Body(Protocol):
    """Reads a short body: `twisted.web.client.readBody` emits a deprecation warning."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._begun = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        self._begun = (self._begun + data)[:_LONGEST_BODY]

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole.callback(self._begun)


@implementer(IAgentEndpointFactory)
class _Socket:
    """The endpoint factory of an HTTP client for a Unix socket."""

    def __init__(self, reactor: Any, path: str | bytes) -> None:
        self._reactor = reactor
        self._path = path

    def endpointForURI(self, _: URI) -> UNIXClientEndpoint:  # Twisted calls this
        """The Unix socket, for every URL."""
        return UNIXClientEndpoint(self._reactor, self._path)


def _port(status: CheckStatus, message: str, remedy: str = "") -> CheckResult:
    return CheckResult(status, "port", message, remedy)
