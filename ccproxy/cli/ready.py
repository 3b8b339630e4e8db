"""The command ``ccproxy ready``: asks a running server whether it is ready.

The health check of a container needs no shell and no HTTP client besides this command.

=====  ==================================================================
0      the server is ready
1      the server is not ready, refuses the key, or does not answer
2      the command line or a setting is wrong; nothing was asked
=====  ==================================================================
"""

import re
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NoReturn

import msgspec
from attrs import frozen
from typing_extensions import override

from ccproxy.cli.command_line import CommandOptions, ExitStatus, fail
from ccproxy.web.server import is_inherited, uses_tls

_ANSWER_SECONDS = 10.0
_PART = re.compile(r"(?:\\.|[^:\\])+")
# Addresses to connect to, if a server listens on all addresses.
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_OK = 200


class ReadyOptions(CommandOptions):
    """The command line of ``ccproxy ready``."""

    program = "ccproxy ready"
    about = (
        "Asks a running server for GET /ready, and prints its message. Pass the "
        "server's --port or --listen, and its key. Exit status: 0: the server is "
        "ready; 1: it is not, or does not answer; 2: the command line or a setting is "
        "wrong."
    )
    shows_settings = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy ready [the server's options]"


class _Error(msgspec.Struct):
    message: str


class _Answer(msgspec.Struct):
    """What is read of the document of ``GET /ready``, or of an error document."""

    ready: bool = False
    message: str = ""
    error: _Error | None = None


@frozen
class _Address:
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


def run_ready(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy ready`` with these arguments, and exit."""
    options = ReadyOptions()
    options.parseOptions(arguments)
    settings = options.settings
    try:
        address = _address(settings.endpoints[0])
    except ValueError as error:
        options.refuse(str(error))
    try:
        status, body = _ask(address, settings.api_keys[0])
    except (OSError, HTTPException) as error:
        message = f"no server answers at {address.shown}: {error or 'no reply'}"
        fail(options.program, message, ExitStatus.FAILED)
    is_ready, message = _read(status, body)
    if not is_ready:
        fail(options.program, message, ExitStatus.FAILED)
    print(message)
    sys.exit(0)


def _address(endpoint: str) -> _Address:
    """The address to connect to for an endpoint on which a server listens.

    Raises:
        ValueError: the endpoint does not tell the address; the message is for the
            operator.
    """
    if is_inherited(endpoint):
        raise ValueError(
            f"--listen: {endpoint} is a socket of systemd's; pass the --host and "
            "--port of that socket instead"
        )
    kind, *rest = (re.sub(r"\\(.)", r"\1", part) for part in _PART.findall(endpoint))
    named: Mapping[str, str] = dict(part.split("=", 1) for part in rest if "=" in part)
    first = next((part for part in rest if "=" not in part), "")
    if kind == "unix":
        return _Address(path=named.get("address", first))
    port = named.get("port", first)
    if not (port.isdecimal() and int(port)):
        raise ValueError(f"the endpoint {endpoint} tells no port to ask")
    host = named.get("interface", "")
    return _Address(
        host=_EVERYWHERE.get(host, host), port=int(port), has_tls=uses_tls(endpoint)
    )


def _ask(address: _Address, key: str) -> tuple[int, bytes]:
    """Send the request; returns the status and the body of the response."""
    connection = address.connection()
    try:
        connection.request("GET", "/ready", headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _read(status: int, body: bytes) -> tuple[bool, str]:
    """Whether a response says that the server is ready, and its message."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError:
        return False, f"the response is not a ccproxy's: status {status}"
    if answer.error is not None:
        return False, f"status {status}: {answer.error.message}"
    return answer.ready and status == _OK, answer.message
