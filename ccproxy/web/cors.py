"""Which web pages may read responses: CORS. Pure.

No page may, unless the operator names its site. The pages of a named site get the
headers of CORS with every response. The request that a browser sends in advance (the
preflight) gets the headers that allow the key's header, and that let a page of the
internet reach a private network.

Source: WHATWG Fetch, "HTTP CORS protocol"; WICG Private Network Access.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

ANY = "*"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105  # HTTP's, no secret
_TOKENS = re.compile(rf"{_TOKEN}(?: ?, ?{_TOKEN})*")
_LONGEST = 2000
_EXPOSED = (
    "x-request-id, retry-after, x-should-retry, x-ccproxy-ignored, "
    "x-ccproxy-adjusted, x-ccproxy-effort, x-ccproxy-queue-ms"
)
_MAX_AGE_SECONDS = 600


class CORSPolicy:
    """The sites whose pages may use the routes.

    Args:
        allowed: ``scheme://host:port``, or ``*``.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def allows(self, origins: Sequence[bytes]) -> bool:
        """Whether the ``Origin`` headers of a request name an allowed site."""
        if len(origins) != 1:
            return False
        own = origins[0].decode("latin-1").strip().lower()
        return ANY in self._allowed or own in self._allowed

    def headers(self, origins: Sequence[bytes]) -> Mapping[str, str]:
        """The headers of every response to a request.

        Args:
            origins: the ``Origin`` headers of the request.
        """
        if not self._allowed:
            return {}
        # A cache must not give the response for one site to another site.
        vary = {} if ANY in self._allowed else {"vary": "origin"}
        if not self.allows(origins):
            return vary
        allowed = ANY if ANY in self._allowed else origins[0].decode("latin-1").strip()
        return {
            **vary,
            "access-control-allow-origin": allowed,
            "access-control-expose-headers": _EXPOSED,
        }

    def preflight(
        self,
        origins: Sequence[bytes],
        *,
        methods: str,
        wanted: Sequence[bytes],
        is_private: bool,
    ) -> Mapping[str, str]:
        """The further headers of the response to a preflight.

        Args:
            origins: the ``Origin`` headers of the request.
            methods: of the route, separated by commas.
            wanted: its ``Access-Control-Request-Headers``.
            is_private: it has ``Access-Control-Request-Private-Network``.
        """
        if not self.allows(origins):
            return {}
        asked = ", ".join(text.decode("latin-1").strip() for text in wanted)
        # The wild card would not stand for `authorization`.
        names = "authorization, content-type"
        if len(asked) <= _LONGEST and _TOKENS.fullmatch(asked):
            names += f", {asked}"
        headers = {
            "access-control-allow-methods": methods,
            "access-control-allow-headers": names,
            "access-control-max-age": str(_MAX_AGE_SECONDS),
        }
        if is_private:
            headers["access-control-allow-private-network"] = "true"
        return headers
