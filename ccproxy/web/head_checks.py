"""Checks of a request's head, and the limits of connections. Pure.

The routes check the key again, because they can be mounted in another application's
server. All other checks are for this server's own ports only.
"""

from collections.abc import Collection, Sequence

from attrs import field, frozen

from ccproxy.config.limits import ConnectionLimits
from ccproxy.config.settings import Settings
from ccproxy.core.errors import InvalidRequest
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
