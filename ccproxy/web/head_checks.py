"""Checks of a request's head, and the limits of connections. Pure.

The routes check the key again, because they can be mounted in another application's
server. All other checks are for this server's own ports only.
"""

from collections.abc import Collection, Sequence

from attrs import field, frozen

from ccproxy.config.limits import ConnectionLimits
from ccproxy.config.settings import Settings
from ccproxy.core.errors import InvalidRequest, ServerFull
from ccproxy.web.access import (
    AllowedHosts,
    Authenticator,
    CORSPolicy,
    HeaderFields,
    check_syntax,
    is_reachable,
    listened_names,
    own_names,
)
from ccproxy.web.paths import route_path

# Bodies up to this size do not count: `--max-connections` limits their number.
_SMALL_BYTES = 2**16
_RETRY_SECONDS = 2.0
# The largest body of a request to a route that needs no key. The route ignores it.
_MOST_UNKEYED_BYTES = 4096


@frozen(kw_only=True)
class Head:
    """The head of a request.

    Attributes:
        target: the request target, as it was sent.
        version: the HTTP version, as in the request line.
        length: the body's length in bytes; None: the body is chunked.
        is_sheltered: whether DNS rebinding is impossible: the connection is a Unix
            socket, or TLS with this server's certificate.
    """

    target: bytes
    version: bytes
    fields: HeaderFields
    length: int | None
    is_sheltered: bool

    def values(self, name: bytes) -> Sequence[bytes]:
        """Every value of a header field."""
        return self.fields.getRawHeaders(name, [])


class BodyBudget:
    """The memory for the bodies of requests whose response is not complete.

    A body whose length is known counts in full before it is read.

    Args:
        most_bytes: the limit of all bodies together. A single body may have more.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    def grow(self, held_bytes: int, size_bytes: int) -> int:
        """Reserve memory for a body that has grown; returns the body's new share.

        Args:
            held_bytes: the memory that is already reserved for the body.
            size_bytes: the size of the body, received or announced.

        Raises:
            ServerFull: all bodies together would be too large.
        """
        if size_bytes <= max(held_bytes, _SMALL_BYTES):
            return held_bytes
        others_bytes = self._held_bytes - held_bytes
        if others_bytes and others_bytes + size_bytes > self._most_bytes:
            raise ServerFull(
                "there are too many large requests at the same time; try again, or "
                "start the proxy with a larger --max-bodies",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._held_bytes = others_bytes + size_bytes
        return size_bytes

    def give_back(self, held_bytes: int) -> None:
        """Release the memory that is reserved for a body."""
        self._held_bytes -= held_bytes


@frozen(kw_only=True)
class HeadChecks:
    """Checks the heads of requests on this server's own ports.

    Attributes:
        open_paths: the paths that need no key.
    """

    authenticator: Authenticator
    hosts: AllowedHosts = field(factory=AllowedHosts)
    cors: CORSPolicy = field(factory=CORSPolicy)
    limits: ConnectionLimits = field(factory=ConnectionLimits)
    open_paths: Collection[bytes] = ()

    def check(self, head: Head) -> None:
        """Check a head before the body is read.

        Raises:
            ClientError: the request is refused.
        """
        codings = head.values(b"transfer-encoding")
        if codings and (len(codings) > 1 or head.version == b"HTTP/1.0"):
            raise InvalidRequest(
                "the length of the body is ambiguous: send one Content-Length, or "
                "chunked"
            )
        if any(coding.strip().lower() != b"chunked" for coding in codings):
            raise InvalidRequest("`chunked` is the only Transfer-Encoding here")
        hosts = head.values(b"host")
        check_syntax(head.version, hosts)
        if not head.is_sheltered:
            self.hosts.check(head.target, hosts)
        # If there is no body, the route checks the key early enough.
        if head.length != 0 and not self._is_harmless(head):
            self.authenticator.check_headers(head.fields, head.target)
            self.authenticator.check_size(head.length or 0)
            self.authenticator.check_encoding(head.values(b"content-encoding"))

    def _is_harmless(self, head: Head) -> bool:
        path = route_path(head.target.partition(b"?")[0])
        return (
            path in self.open_paths
            and head.length is not None
            and head.length <= _MOST_UNKEYED_BYTES
        )


def head_checks(
    settings: Settings,
    authenticator: Authenticator,
    cors: CORSPolicy,
    open_paths: Collection[bytes],
    hostname: str,
) -> HeadChecks:
    """Make the head checks from the operator's settings.

    Args:
        settings: the operator's settings.
        authenticator: the authenticator of the routes.
        cors: the CORS policy of the routes.
        open_paths: the paths that need no key.
        hostname: this machine's name; allowed if other machines can reach an endpoint.
    """
    names = [*settings.allowed_hosts, *listened_names(settings.endpoints)]
    if any(map(is_reachable, settings.endpoints)):
        names += own_names(hostname)
    return HeadChecks(
        authenticator=authenticator,
        hosts=AllowedHosts(names),
        cors=cors,
        limits=settings,
        open_paths=open_paths,
    )
