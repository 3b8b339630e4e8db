"""Who may come in, and with how much. Pure.

The gate is asked twice: by our own server as soon as the headers are there, so
that no body of a stranger's is read; and by the routes, because another
application's server may stand in front of them.
"""

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest

from ccproxy.errors import InvalidKey, RequestTooLarge

_SCHEME = "bearer"
_ID_BYTES = 4

# Of whoever was let in without one.
NO_KEY = "-"


def key_id(key: str) -> str:
    """What stands for a key where it must not be written: eight hex digits."""
    digest = blake2b(key.encode(), digest_size=_ID_BYTES, person=b"ccproxy key id")
    return digest.hexdigest()


class Gate:
    """Checks keys and sizes.

    Args:
        keys: those that open; None: someone else has checked already.
        max_body_bytes: the largest body.
    """

    def __init__(self, keys: Sequence[str] | None, max_body_bytes: int) -> None:
        self._keys = (
            None if keys is None else [(key.encode(), key_id(key)) for key in keys]
        )
        self._max_body_bytes = max_body_bytes

    def check_key(self, authorization: Sequence[bytes]) -> str:
        """Check the ``Authorization`` headers of a request; returns the key's id.

        Every key is compared, each in constant time: how long it takes tells
        nothing about any of them but its length.

        Raises:
            InvalidKey: says how the key is sent.
        """
        if self._keys is None:
            return NO_KEY
        if not authorization:
            raise InvalidKey(
                "no API key was sent; send the proxy's key (PROXY_API_KEY) as the "
                "header `Authorization: Bearer KEY`"
            )
        scheme, _, given = authorization[0].decode("latin-1").strip().partition(" ")
        if len(authorization) > 1 or scheme.lower() != _SCHEME:
            raise InvalidKey("send the key as one header `Authorization: Bearer KEY`")
        candidate = given.strip().encode("latin-1")
        matches = [name for key, name in self._keys if compare_digest(candidate, key)]
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
