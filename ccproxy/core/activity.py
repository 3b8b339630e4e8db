"""What a server is at, and what it was: for whoever looks on. No words of anybody's."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from ccproxy.core.usage import RateWindow


@frozen(kw_only=True)
class ActiveRequest:
    """A request that is under way.

    Attributes:
        id: as its answer and the log have it.
        route: method and path as they are documented.
        model: the full id of who answers; empty: nobody yet.
        client: the family of the program that asks.
        key: the id of the key that was sent.
        began_at: Unix time.
        answering_at: Unix time of its first token; None: there is none yet.
    """

    id: str
    route: str
    model: str
    client: str
    key: str
    began_at: float
    answering_at: float | None


@frozen(kw_only=True)
class CompletedRequest:
    """A request that is over.

    Attributes:
        number: counts them, so that each is told once.
        ended_at: Unix time.
        finish: why its answer ended; an error's code, if it failed.
        is_error: whether it failed.
        first_token_seconds: from its beginning; None: there was none.
    """

    number: int
    id: str
    route: str
    model: str
    client: str
    key: str
    ended_at: float
    status: int
    finish: str
    is_error: bool
    seconds: float
    first_token_seconds: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@frozen(kw_only=True)
class Activity:
    """What is going on.

    Attributes:
        going: the oldest first.
        more: how many there are besides.
        sessions: how many CLIs are at what.
        queued: how many questions wait for one.
        windows: how much of the subscription's limits is used.
    """

    going: Sequence[ActiveRequest]
    more: int
    sessions: Mapping[str, int]
    queued: int
    windows: Sequence[RateWindow]
