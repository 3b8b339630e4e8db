"""What a server does and has done, for the dashboard; without prompts and answers."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from ccproxy.core.usage import RateWindow


@frozen(kw_only=True)
class ActiveRequest:
    """A request whose answer has not ended.

    Attributes:
        id: the request's id, as in the answer's headers and the log.
        route: the route's method and path, as in the documentation.
        model: the full id of the model that answers; empty: not known yet.
        client: the family of the client program.
        key: the id of the client's API key.
        began_at: Unix time.
        answering_at: Unix time of the first token; None: there is none yet.
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
    """A request whose answer has ended.

    Attributes:
        number: counts completed requests; a viewer shows each number once.
        ended_at: Unix time.
        finish: why the answer ended; an error's code, if the request failed.
        is_error: whether the request failed.
        first_token_seconds: from the request's start; None: there was no token.
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
    """What a server does now.

    Attributes:
        active: active requests, the oldest first.
        more: how many active requests ``active`` leaves out.
        sessions: CLI processes by their state.
        queued: requests that wait for a CLI process.
        windows: the subscription's rate limits.
    """

    active: Sequence[ActiveRequest]
    more: int
    sessions: Mapping[str, int]
    queued: int
    windows: Sequence[RateWindow]
