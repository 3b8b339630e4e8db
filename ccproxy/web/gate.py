"""Who may come in, and with how much. Pure.

The gate is asked twice: by our own server as soon as the headers are there, so
that no body of a stranger's is read; and by the routes, because another
application's server may stand in front of them.
"""

from collections.abc import Sequence
from hmac import compare_digest

from ccproxy.errors import InvalidKey, RequestTooLarge

_SCHEME = "bearer"


class Gate:
    """Checks keys and sizes.

    Args:
        keys: those that open; None: someone else has checked already.
        max_body_bytes: the largest body.
    """

    def __init__(self, keys: Sequence[str] | None, max_body_bytes: int) -> None:
        self._keys = None if keys is None else [key.encode() for key in keys]
        self._max_body_bytes = max_body_bytes

    def check_key(
        self, authorization: Sequence[bytes], api_keys: Sequence[bytes] = ()
    ) -> None:
        """Check the ``Authorization`` and ``x-api-key`` headers of a request.

        One of them has to open: some clients send both.

        Every key is compared, each in constant time: how long it takes tells
        nothing about any of them but its length.

        Raises:
            InvalidKey: says how the key is sent.
        """
        if self._keys is None:
            return
        if not authorization and not api_keys:
            raise InvalidKey(
                "no API key was sent; send the proxy's key (PROXY_API_KEY) as the "
                "header `Authorization: Bearer KEY`, or `x-api-key: KEY`"
            )
        candidates = [key.strip() for key in api_keys]
        if authorization:
            candidates += _bearer(authorization, is_alone=not api_keys)
        matches = [
            compare_digest(candidate, key)
            for candidate in candidates
            for key in self._keys
        ]
        if not any(matches):
            raise InvalidKey(
                "the API key is wrong; send the one that the proxy was started with "
                "(PROXY_API_KEY), not a key of OpenAI's or Anthropic's"
            )

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


def _bearer(authorization: Sequence[bytes], *, is_alone: bool) -> Sequence[bytes]:
    scheme, _, given = authorization[0].decode("latin-1").strip().partition(" ")
    if len(authorization) == 1 and scheme.lower() == _SCHEME:
        return (given.strip().encode("latin-1"),)
    if is_alone:
        raise InvalidKey("send the key as one header `Authorization: Bearer KEY`")
    return ()
