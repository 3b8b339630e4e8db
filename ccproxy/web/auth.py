"""Who may come in, and with how much. Pure.

The gate is asked twice: by our own server as soon as the headers are there, so
that no body of a stranger's is read; and by the routes, because another
application's server may stand in front of them.
"""

from collections.abc import Sequence
from hashlib import blake2b, sha256
from hmac import compare_digest

from ccproxy.core.errors import InvalidKey, RequestTooLarge, UnsupportedEncoding

_SCHEME = "bearer"
_ID_BYTES = 4

# Of whoever was let in without one.
NO_KEY = "-"


def key_id(key: str) -> str:
    """What stands for a key where it must not be written: eight hex digits."""
    digest = blake2b(key.encode(), digest_size=_ID_BYTES, person=b"ccproxy key id")
    return digest.hexdigest()


class Authenticator:
    """Checks keys and sizes.

    Args:
        keys: those that open; None: someone else has checked already.
        max_body_bytes: the largest body.
    """

    def __init__(self, keys: Sequence[str] | None, max_body_bytes: int) -> None:
        self._digests = (
            None
            if keys is None
            else [(_digest(key.encode()), key_id(key)) for key in keys]
        )
        self._max_body_bytes = max_body_bytes

    def check_key(
        self, authorization: Sequence[bytes], api_keys: Sequence[bytes] = ()
    ) -> str:
        """Check the ``Authorization`` and ``x-api-key`` headers; returns the key's id.

        One of them has to open: some clients send both.

        Every key is compared, by digests, each in constant time: how long it takes
        tells nothing about any of them.

        Raises:
            InvalidKey: says how the key is sent.
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
        """Check how large a body is, or is told to become.

        Raises:
            RequestTooLarge: says how to raise the limit.
        """
        if size_bytes > self._max_body_bytes:
            raise RequestTooLarge(
                f"the request body is larger than {self._max_body_bytes} bytes; "
                "send less, or start the proxy with a larger --max-body"
            )

    def check_encoding(self, encodings: Sequence[bytes]) -> None:
        """Check the ``Content-Encoding`` headers of a request.

        A few kilobytes can be made to unpack to gigabytes, so nothing is unpacked.

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
