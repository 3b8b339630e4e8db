"""What has been used: the values that rooms tell each other of it."""

from attrs import field, frozen

from ccproxy.core.stream import Usage


@frozen(kw_only=True)
class RateWindow:
    """How much of a subscription's limit is used.

    Attributes:
        name: which limit, in the provider's word: ``five_hour``, ``seven_day``.
        used: from 0 to 1, and more where more is allowed; None: not told.
        status: ``allowed``, ``allowed_warning`` or ``rejected``; None: not told.
        resets_seconds: Unix time of its end; None: not told.
        told_seconds: Unix time of when this was told.
    """

    name: str
    used: float | None
    status: str | None
    resets_seconds: float | None
    told_seconds: float


@frozen
class UsageKey:
    """Whose use it was.

    Attributes:
        day: in UTC, as ``2026-11-25``.
        model: the full id of who answered.
        key: stands for the key that was sent, which it does not tell.
        client: the family of the program that asked.
    """

    day: str
    model: str
    key: str
    client: str


@frozen
class UsageTotals:
    """How much it was.

    Attributes:
        answers: how many requests were answered.
        cost_nanodollars: whole ones, so that sums are exact.
    """

    answers: int = 0
    usage: Usage = field(factory=Usage)
    cost_nanodollars: int = 0

    def __add__(self, other: "UsageTotals") -> "UsageTotals":
        return UsageTotals(
            self.answers + other.answers,
            self.usage + other.usage,
            self.cost_nanodollars + other.cost_nanodollars,
        )


@frozen
class UsageReport:
    """What the ledger says.

    Attributes:
        lines: oldest day first.
        windows: of the subscription's limits, by name.
    """

    lines: tuple[tuple[UsageKey, UsageTotals], ...] = ()
    windows: tuple[RateWindow, ...] = ()
