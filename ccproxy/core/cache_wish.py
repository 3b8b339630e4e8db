"""The options of the prompt cache in a request of OpenAI's APIs."""

from typing import Literal

from attrs import field, frozen


@frozen(kw_only=True)
class CacheWish:
    """A client's options for the breakpoints of one request.

    Attributes:
        ttl: the time to live of the cached prefixes; None: the operator's choice.
        mode: ``implicit``: a breakpoint at the end besides the client's breakpoints, if
            the provider takes one more; ``explicit``: the client's breakpoints only;
            None: a breakpoint at the end only if the client sets no breakpoints.
        paths: the client's paths of these options; not compared.
    """

    ttl: Literal["5m", "1h"] | None = None
    mode: Literal["implicit", "explicit"] | None = None
    paths: tuple[str, ...] = field(default=(), eq=False)
