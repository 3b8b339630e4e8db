"""What a client of OpenAI's APIs asks of the prompt cache."""

from typing import Literal

from attrs import field, frozen


@frozen(kw_only=True)
class CacheWish:
    """A client's wish for the breakpoints of one request.

    Attributes:
        ttl: the time to live of the breakpoints; None: the operator's.
        mode: ``implicit``: a breakpoint at the end beside those of the client, if there
            is room; ``explicit``: the client's only; None: at the end only if the
            client sets none.
        paths: the client's paths of the fields that say so; not compared.
    """

    ttl: Literal["5m", "1h"] | None = None
    mode: Literal["implicit", "explicit"] | None = None
    paths: tuple[str, ...] = field(default=(), eq=False)
