"""Used tokens and costs, rate limits, and what a server does now."""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from ccproxy.core.stream import Usage

_NANODOLLARS = 10**9


@frozen(kw_only=True)
class RateWindow:
    """The state of one rate limit of the subscription.

    Attributes:
        name: the provider's name of the limit: ``five_hour``, ``seven_day``.
        used: the used share, from 0 to 1 or more; None: not reported.
        status: ``allowed``, ``allowed_warning`` or ``rejected``; None: not reported.
        resets_seconds: Unix time of the window's end; None: not reported.
        reported_seconds: Unix time of the report.
    """

    name: str
    used: float | None
    status: str | None
    resets_seconds: float | None
    reported_seconds: float


@frozen
class UsageKey:
    """The key by which usage is summed.

    Attributes:
        day: in UTC, as ``2026-11-25``.
        model: the full id of the model that answered.
        key: the id of the client's API key; not the key itself.
        client: the family of the client program.
    """

    day: str
    model: str
    key: str
    client: str


@frozen
class UsageTotals:
    """A sum of usage.

    Attributes:
        answers: the number of answered requests.
        cost_nanodollars: an integer, so that sums are exact.
    """

    answers: int = 0
    usage: Usage = field(factory=Usage)
    cost_nanodollars: int = 0

    @property
    def cost_usd(self) -> float:
        """What the answers cost, in dollars."""
        return self.cost_nanodollars / _NANODOLLARS

    def __add__(self, other: "UsageTotals") -> "UsageTotals":
        return UsageTotals(
            self.answers + other.answers,
            self.usage + other.usage,
            self.cost_nanodollars + other.cost_nanodollars,
        )


def nanodollars(dollars: float) -> int:
    """A cost as `UsageTotals` counts it."""
    return round(dollars * _NANODOLLARS)


@frozen
class UsageReport:
    """What the usage ledger contains.

    Attributes:
        lines: sums of usage, the oldest day first.
        windows: the subscription's rate limits, ordered by name.
    """

    lines: tuple[tuple[UsageKey, UsageTotals], ...] = ()
    windows: tuple[RateWindow, ...] = ()


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
