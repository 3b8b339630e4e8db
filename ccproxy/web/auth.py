"""API keys, and the size and encoding of request bodies. Pure.

The authenticator is asked twice. The server asks it when a request's headers have
arrived, so that the body of a client without a key is never read. The routes ask it
again, because they can be mounted in another application's server.
"""

from collections.abc import Sequence
from hashlib import blake2b, sha256
from hmac import compare_digest
from typing import Protocol

from ccproxy.core.errors import InvalidKey, RequestTooLarge, UnsupportedEncoding

_SCHEME = "bearer"
_ID_BYTES = 4

# The key id of requests for which no key was checked.
NO_KEY = "-"


class HeaderFields(Protocol):
    """The header fields of a request: `twisted.web.http_headers.Headers`."""

    def getRawHeaders(  # noqa: N802  # Twisted's name
        self, name: bytes, default: Sequence[bytes]
    ) -> Sequence[bytes]:
        """Every value of a field."""


def key_id(key: str) -> str:
    """The public id of a key, for logs and counts: eight hexadecimal digits."""
    digest = blake2b(key.encode(), digest_size=_ID_BYTES, person=b"ccproxy key id")
    return digest.hexdigest()


class Authenticator:
    """Checks keys, and the size and encoding of bodies.

    Args:
        keys: the accepted keys; None: the application around the routes checks keys.
        max_body: the largest body, in bytes.
    """

    def __init__(self, keys: Sequence[str] | None, max_body: int) -> None:
        self._digests = (
            None
            if keys is None
            else [(_digest(key.encode()), key_id(key)) for key in keys]
        )
        self._max_body = max_body

    def check_headers(self, headers: HeaderFields) -> str:
        """Check the key of a request; returns the key's id.

        Raises:
            InvalidKey: the message says how to send the key.
        """
        return self.check_key(
            headers.getRawHeaders(b"authorization", []),
            headers.getRawHeaders(b"x-api-key", []),
        )

    def check_key(
        self, authorization: Sequence[bytes], api_keys: Sequence[bytes] = ()
    ) -> str:
        """Check the ``Authorization`` and ``x-api-key`` headers; returns the key's id.

        One valid key is enough, because some clients send both headers.

        Every accepted key is compared, by digest and in constant time, so that the
        time of an answer reveals nothing about the keys.

        Raises:
            InvalidKey: the message says how to send the key.
        """
        if self._digests is None:
            return NO_KEY
        if not authorization and not api_keys:
            raise InvalidKey(
                "no API key was sent; send the proxy's key (PROXY_API_KEY) as the "
                "header `Authorization: Bearer KEY`, or `x-api-key: KEY`"
            )
        candidates = [key.strip() for key in api_keys]
        if authorization:
            candidates += _bearer(authorization, is_alone=not api_keys)
        matches = [
            name
            for candidate in candidates
            for digest, name in self._digests
            if compare_digest(_digest(candidate), digest)
        ]
        if not matches:
            raise InvalidKey(
                "the API key is wrong; send the one that the proxy was started with "
                "(PROXY_API_KEY), not a key of OpenAI's or Anthropic's"
            )
        return matches[0]

    def check_size(self, size_bytes: int) -> None:
        """Check the size of a body, received or announced.

        Raises:
            RequestTooLarge: the message names the option that raises the limit.
        """
        if size_bytes > self._max_body:
            raise RequestTooLarge(
                f"the request body is larger than {self._max_body} bytes; "
                "send less, or start the proxy with a larger --max-body"
            )

    def check_encoding(self, encodings: Sequence[bytes]) -> None:
        """Check the ``Content-Encoding`` headers of a request.

        Nothing is decompressed: a body of a few kilobytes can expand to gigabytes.

        Raises:
            UnsupportedEncoding: the body is compressed.
        """
        if any(value.strip().lower() not in (b"", b"identity") for value in encodings):
            raise UnsupportedEncoding(
                "the body is compressed, which is not taken here; send it as it is, "
                "without Content-Encoding"
            )


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _bearer(authorization: Sequence[bytes], *, is_alone: bool) -> Sequence[bytes]:
    scheme, _, given = authorization[0].decode("latin-1").strip().partition(" ")
    if len(authorization) == 1 and scheme.lower() == _SCHEME:
        return (given.strip().encode("latin-1"),)
    if is_alone:
        raise InvalidKey("send the key as one header `Authorization: Bearer KEY`")
    return ()
