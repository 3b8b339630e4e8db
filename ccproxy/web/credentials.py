"""Where a request has its key."""

from twisted.web.http_headers import Headers

from ccproxy.web.gate import Gate


def check_key(gate: Gate, headers: Headers) -> None:
    """Ask the gate.

    Raises:
        InvalidKey: says how the key is sent.
    """
    gate.check_key(
        headers.getRawHeaders(b"authorization", []),
        headers.getRawHeaders(b"x-api-key", []),
    )
