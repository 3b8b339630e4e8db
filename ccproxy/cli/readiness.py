"""Asks a running server whether it is ready: ``GET /ready``."""

import re
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import msgspec
from attrs import frozen
from typing_extensions import override

from ccproxy.web.endpoints import is_inherited, uses_tls

_ANSWER_SECONDS = 10.0
_PART = re.compile(r"(?:\\.|[^:\\])+")
# Addresses to connect to, if a server listens on all addresses.
LOOPBACK_OF = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_OK = 200


@frozen
class Readiness:
    """The answer of a server: whether the server is ready, and its message."""

    is_ready: bool
    message: str


class _Error(msgspec.Struct):
    message: str


class _Answer(msgspec.Struct):
    """The fields that are read from an answer to ``GET /ready``, or from an error."""

    ready: bool = False
    message: str = ""
    error: _Error | None = None


@frozen
class ServerAddress:
    """The address of a server: a host and a port, or the path of a Unix socket."""

    host: str = "localhost"
    port: int = 0
    path: str = ""
    has_tls: bool = False

    @property
    def shown(self) -> str:
        """The address in an error message."""
        if self.path:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.has_tls else 'http'}://{host}:{self.port}"

    def connection(self) -> HTTPConnection:
        """A connection that is not open yet."""
        if self.path:
            return _SocketConnection(self.path)
        if self.has_tls:
            # The certificate is for the name that clients use, not for this address.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return HTTPSConnection(
                self.host, self.port, timeout=_ANSWER_SECONDS, context=context
            )
        return HTTPConnection(self.host, self.port, timeout=_ANSWER_SECONDS)


class _SocketConnection(HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(self._path)


def address_of(endpoint: str) -> ServerAddress:
    """The address to connect to for an endpoint on which a server listens.

    Raises:
        ValueError: the endpoint does not contain the address; the message is for the
            operator.
    """
    if is_inherited(endpoint):
        raise ValueError(
            f"--listen: systemd opens the socket {endpoint}; pass the --host and "
            "--port of that socket instead"
        )
    kind, *rest = (re.sub(r"\\(.)", r"\1", part) for part in _PART.findall(endpoint))
    named: Mapping[str, str] = dict(part.split("=", 1) for part in rest if "=" in part)
    first = next((part for part in rest if "=" not in part), "")
    if kind == "unix":
        return ServerAddress(path=named.get("address", first))
    port = named.get("port", first)
    if not (port.isdecimal() and int(port)):
        raise ValueError(
            f"the endpoint {endpoint} has no fixed port; pass the --port on which the "
            "server listens"
        )
    host = named.get("interface", "")
    return ServerAddress(
        host=LOOPBACK_OF.get(host, host), port=int(port), has_tls=uses_tls(endpoint)
    )


def address_of_url(url: str) -> ServerAddress:
    """The address in a URL that `ccproxy.web.server.base_url` has made."""
    words = url.split()
    if len(words) > 1:  # --unix-socket PATH URL
        return ServerAddress(path=words[1])
    parts = urlsplit(url)
    host = parts.hostname or ""
    return ServerAddress(
        host=LOOPBACK_OF.get(host, host),
        port=parts.port or 0,
        has_tls=parts.scheme == "https",
    )


def ask(address: ServerAddress, key: str) -> Readiness:
    """Ask the server at an address; a server that does not answer is not ready."""
    try:
        status, body = _request(address, key)
    except (OSError, HTTPException) as error:
        message = f"no server answers at {address.shown}: {error or 'no reply'}"
        return Readiness(is_ready=False, message=message)
    return _read(status, body)


def _request(address: ServerAddress, key: str) -> tuple[int, bytes]:
    """Send the request; returns the status and the body of the response."""
    connection = address.connection()
    try:
        connection.request("GET", "/ready", headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _read(status: int, body: bytes) -> Readiness:
    """What a response says."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError:
        message = f"the server that answers is not ccproxy: status {status}"
        return Readiness(is_ready=False, message=message)
    if answer.error is not None:
        message = f"status {status}: {answer.error.message}"
        return Readiness(is_ready=False, message=message)
    return Readiness(answer.ready and status == _OK, answer.message)
