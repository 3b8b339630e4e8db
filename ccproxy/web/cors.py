"""Which web pages may read what is answered here: CORS. Pure.

None may, unless the operator names their sites. Whoever is named is told so with every
answer, and a browser's question before a request (the preflight) gets what it needs for
the key's header, and for a page of the internet to reach a private network.

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
    """The sites whose pages may ask.

    Args:
        allowed: ``scheme://host:port``, or ``*``.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def allows(self, cors: Sequence[bytes]) -> bool:
        """Whether the ``Origin`` headers of a request are one of theirs."""
        if len(cors) != 1:
            return False
        own = cors[0].decode("latin-1").strip().lower()
        return ANY in self._allowed or own in self._allowed

    def headers(self, cors: Sequence[bytes]) -> Mapping[str, str]:
        """What every answer to such a request says.

        Args:
            cors: the ``Origin`` headers of the request.
        """
        if not self._allowed:
            return {}
        # Whatever keeps answers must not give that of one site to another.
        vary = {} if ANY in self._allowed else {"vary": "origin"}
        if not self.allows(cors):
            return vary
        told = ANY if ANY in self._allowed else cors[0].decode("latin-1").strip()
        return {
            **vary,
            "access-control-allow-origin": told,
            "access-control-expose-headers": _EXPOSED,
        }

    def preflight(
        self,
        cors: Sequence[bytes],
        *,
        methods: str,
        wanted: Sequence[bytes],
        is_private: bool,
    ) -> Mapping[str, str]:
        """What the answer to a preflight says besides.

        Args:
            cors: the ``Origin`` headers of the request.
            methods: of the route, separated by commas.
            wanted: its ``Access-Control-Request-Headers``.
            is_private: it has ``Access-Control-Request-Private-Network``.
        """
        if not self.allows(cors):
            return {}
        asked = ", ".join(text.decode("latin-1").strip() for text in wanted)
        # The wild card would not stand for `authorization`.
        names = "authorization, content-type"
        if len(asked) <= _LONGEST and _TOKENS.fullmatch(asked):
            names += f", {asked}"
        told = {
            "access-control-allow-methods": methods,
            "access-control-allow-headers": names,
            "access-control-max-age": str(_MAX_AGE_SECONDS),
        }
        if is_private:
            told["access-control-allow-private-network"] = "true"
        return told
