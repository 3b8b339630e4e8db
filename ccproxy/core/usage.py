"""Token usage and costs, rate limits, and a snapshot of a server's activity."""

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen

from ccproxy.core.stream import Usage

_NANODOLLARS = 10**9


@frozen(kw_only=True)
class RateWindow:
    """The state of one rate limit of the subscription.

    Attributes:
        name: the provider's name of the limit: ``five_hour``, ``seven_day``.
        used: the used fraction of the limit, which may exceed 1; None: not reported.
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
    """The key of a usage total: one total per day, model, API key and client program.

    Attributes:
        day: the date in UTC, such as ``2026-11-25``.
        model: the full id of the model that answered.
        key: the id of the client's API key; not the key itself.
        client: the family of the client program.
        conversation: for the total of one conversation, its id; ``day`` is then the
            conversation's last day, and ``model`` is empty. Otherwise empty.
    """

    day: str
    model: str
    key: str
    client: str
    conversation: str = ""


@frozen
class UsageTotals:
    """The total usage and cost of several requests.

    Attributes:
        answers: the number of requests whose answer began; it may have been cut.
        cost_nanodollars: the cost; an integer, so that sums are exact.
    """

    answers: int = 0
    usage: Usage = field(factory=Usage)
    cost_nanodollars: int = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Everything that is summed up, by name."""
        return {
            "answers": self.answers,
            **self.usage.counts,
            "cost_nanodollars": self.cost_nanodollars,
        }

    @property
    def cost_usd(self) -> float:
        """The cost in US dollars."""
        return self.cost_nanodollars / _NANODOLLARS

    def __add__(self, other: "UsageTotals") -> "UsageTotals":
        return UsageTotals(
            self.answers + other.answers,
            self.usage + other.usage,
            self.cost_nanodollars + other.cost_nanodollars,
        )


def nanodollars(dollars: float) -> int:
    """Convert a cost in US dollars to nanodollars."""
    return round(dollars * _NANODOLLARS)


def summed_by(
    lines: Iterable[tuple[UsageKey, UsageTotals]], name: str
) -> tuple[tuple[UsageKey, UsageTotals], ...]:
    """The sums for each value of one field of the keys, sorted by value.

    Args:
        lines: sums of usage.
        name: the field; the other fields of the returned keys are empty. Conversations
            are summed up already, and stay in their order.
    """
    if name == "conversation":
        return tuple(lines)
    sums: dict[str, UsageTotals] = {}
    for usage_key, totals in lines:
        value: str = getattr(usage_key, name)
        sums[value] = sums.get(value, UsageTotals()) + totals
    empty = UsageKey("", "", "", "")
    return tuple((evolve(empty, **{name: v}), sums[v]) for v in sorted(sums))


@frozen
class UsageReport:
    """The contents of the usage ledger.

    Attributes:
        lines: the totals by key, the oldest day first; or by conversation, the last
            used one first.
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
        answering_at: Unix time of the first token; None: no token has arrived.
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
        number: 1 for the first completed request, 2 for the second; a viewer shows
            each number once.
        ended_at: Unix time.
        finish: why the answer ended; an error's code, if the request failed.
        is_error: whether the request failed.
        first_token_seconds: time to the first token; None: there was no token.
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
    """A snapshot of a server's activity.

    Attributes:
        active: active requests, the oldest first; at most a fixed number.
        more: the number of active requests that are not in ``active``.
        sessions: the number of CLI processes in each state.
        queued: the number of requests that wait for a CLI process.
        windows: the subscription's rate limits.
    """

    active: Sequence[ActiveRequest]
    more: int
    sessions: Mapping[str, int]
    queued: int
    windows: Sequence[RateWindow]
