"""A request whose head is checked before anything of its body is read."""

import re
from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web.server import Request
from typing_extensions import override

from ccproxy.core.errors import CCProxyError, InvalidRequest
from ccproxy.web.memory import HeldMemory
from ccproxy.web.replies import request_id

_ABSOLUTE = re.compile(rb"^https?://[^/?]*", re.IGNORECASE)


class ProxyRequest(Request):
    """A request whose body is read only if its head is accepted."""

    channel: Any
    content: Any
    defaultContentType = b"application/json"
    memory: HeldMemory
    _refused = False
    _received_bytes = 0

    @override
    def gotLength(self, length: int | None) -> None:
        try:
            self.memory = self.channel.site.memory.holder()
            self.channel.head_checks.check(self.channel.head(self, length))
            self.memory.set(length or 0)
        except CCProxyError as error:
            self._refuse(error)
        else:
            self.content = BytesIO()
            self.channel.let_in()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        self._received_bytes += len(data)
        try:
            self.channel.head_checks.authenticator.check_size(self._received_bytes)
            # Only for chunked bodies: `gotLength` has reserved a known length.
            self.memory.grow(self._received_bytes)
        except CCProxyError as error:
            self._refuse(error)
        else:
            self.content.write(data)

    @override
    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            return
        self.channel.answering()
        request_id(self)
        # Twisted answers `OPTIONS *`, but closes the connection for other methods.
        if path == b"*" and command != b"OPTIONS":
            self._refuse(InvalidRequest("`*` is allowed for OPTIONS only"))
            return
        # Every server must accept the absolute form of a target (RFC 9112).
        own_path = _ABSOLUTE.sub(b"", path, count=1)
        super().requestReceived(command, own_path or b"/", version)

    @override
    def getRequestHostname(self) -> bytes:
        # HTTP/1.0 needs no Host, and a Unix socket has no host name.
        if not self.requestHeaders.hasHeader(b"host"):
            return b"localhost"
        named: bytes = super().getRequestHostname()
        return named

    @override
    def connectionLost(self, reason: Failure) -> None:
        if hasattr(self, "memory"):
            self.memory.release()
        super().connectionLost(reason)

    def _refuse(self, error: CCProxyError) -> None:
        self._refused = True
        self.content = None
        self.memory.release()
        # Otherwise the channel would ask the client to send the body.
        self.requestHeaders.removeHeader(b"expect")
        self.channel.refuse(error)
