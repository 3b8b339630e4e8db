"""Where a request has its key."""

from twisted.web.http_headers import Headers

from ccproxy.web.auth import Authenticator


def check_key(authenticator: Authenticator, headers: Headers) -> str:
    """Ask the gate; returns the key's id.

    Raises:
        InvalidKey: says how the key is sent.
    """
    return authenticator.check_key(
        headers.getRawHeaders(b"authorization", []),
        headers.getRawHeaders(b"x-api-key", []),
    )
