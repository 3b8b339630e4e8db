"""A stand-in for the provider's own host, for requests besides the Messages API.

At each start a CLI on the provider's own host asks that host about the account,
wherever ``ANTHROPIC_BASE_URL`` points to. Without an answer it repeats the request for
seconds. Here an HTTPS proxy leads each connection to a server that answers 404. So the
CLI goes on at once, and nothing leaves the machine.

Source: docs/claude-cli-protocol.md, "The provider's own host".
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from typing_extensions import override

HOST = "api.anthropic.com"

_END = b"\r\n\r\n"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\n"
    b"content-length: 2\r\nconnection: close\r\n\r\n{}"
)


@define(eq=False)
class ProvidersHost:
    """A proxy that leads every connection to a server without any page.

    Attributes:
        certificate: the file that a CLI has to trust.
        asked: the request lines: of the connections, and of what was asked in them.
    """

    port: Any
    certificate: Path
    asked: list[str] = field(factory=list)

    @classmethod
    def start(cls, reactor: Any, folder: Path) -> "ProvidersHost":
        """Listen on a free port of loopback; the folder is for its certificate."""
        path, private = folder / "host.pem", folder / "host.key"
        certificate, key = _certificate()
        path.write_bytes(certificate)
        private.write_bytes(key)
        factory = _Hosts(DefaultOpenSSLContextFactory(str(private), str(path)))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        factory.asked = (host := cls(port, path)).asked
        return host

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that lead a CLI to this host."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port.getHost().port}",
            "NO_PROXY": "127.0.0.1",
            "NODE_EXTRA_CA_CERTS": str(self.certificate),
        }


def _certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for the provider's host, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM), private


class _Host(Protocol):
    """First the proxy, then, within TLS, the server."""

    def __init__(self, hosts: "_Hosts") -> None:
        self._hosts = hosts
        self._received = b""
        self._is_secure = False

    @override
    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if _END not in self._received:
            return
        line = self._received.partition(b"\r\n")[0].decode()
        self._received = b""
        self._hosts.asked.append(line)
        transport: Any = self.transport
        if not self._is_secure and line.startswith("CONNECT "):
            transport.write(_ESTABLISHED)
            transport.startTLS(self._hosts.context)
            self._is_secure = True
        else:
            transport.write(_NOT_FOUND)
            transport.loseConnection()


class _Hosts(Factory):
    noisy = False

    def __init__(self, context: DefaultOpenSSLContextFactory) -> None:
        self.context = context
        self.asked: list[str] = []

    @override
    def buildProtocol(self, addr: object) -> _Host:
        return _Host(self)
