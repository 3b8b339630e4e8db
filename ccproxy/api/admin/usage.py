"""``GET /usage`` and ``ccproxy usage --json``: a document of our own."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import asdict

from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals


class Window(msgspec.Struct):
    """One of the subscription's limits; times are Unix seconds."""

    window: str
    used: float | None
    status: str | None
    resets_at: float | None
    told_at: float


class _Amount(msgspec.Struct):
    answers: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    thinking_tokens: int
    cost_usd: float


class _Line(_Amount):
    day: str
    model: str
    key: str
    client: str


class UsageDocument(msgspec.Struct):
    """What was used, since a day."""

    object: str
    since: str
    total: _Amount
    lines: list[_Line]
    rate_limits: list[Window]


def window_documents(windows: Sequence[RateWindow]) -> list[Window]:
    """The limits, as documents tell them."""
    return [
        Window(
            window=window.name,
            used=window.used,
            status=window.status,
            resets_at=window.resets_seconds,
            told_at=window.told_seconds,
        )
        for window in windows
    ]


def usage_document(books: UsageReport, since: str) -> bytes:
    """Encode what was used from a day on.

    Args:
        books: the ledger's.
        since: the first day, as ``2026-11-25``.
    """
    total = sum((spent for _, spent in books.lines), UsageTotals())
    return msgspec.json.encode(
        UsageDocument(
            object="ccproxy.cli.usage",
            since=since,
            total=_Amount(**_amount(total)),
            lines=[_line(account, spent) for account, spent in books.lines],
            rate_limits=window_documents(books.windows),
        )
    )


def _line(account: UsageKey, spent: UsageTotals) -> _Line:
    return _Line(**asdict(account), **_amount(spent))


def _amount(spent: UsageTotals) -> Mapping[str, Any]:
    return {
        "answers": spent.answers,
        **spent.usage.counts,
        "cost_usd": spent.cost_usd,
    }
