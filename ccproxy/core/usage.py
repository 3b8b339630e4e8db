"""Used tokens and costs, and the subscription's rate limits."""

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
    """By what usage is summed up.

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
