"""The usage ledger for people to read. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals

_HEADINGS = (
    *("day", "model", "key", "client"),
    *("answers", "input", "cache read", "cache write", "output", "cost"),
)
# How many columns are words; the others are numbers, and stand to the right.
_WORDS = 4
_WINDOWS = {
    "five_hour": "5-hour window",
    "seven_day": "7-day window",
    "seven_day_opus": "7-day window, Opus",
    "seven_day_sonnet": "7-day window, Sonnet",
    "overage": "extra usage",
}
_STATUS = {"allowed_warning": ", near its end", "rejected": ", used up"}


def table(
    books: UsageReport, since: str, now_seconds: float, zone: tzinfo | None
) -> str:
    """The ledger and the limits, as lines.

    Args:
        books: what the ledger says.
        since: the first day, as ``2026-11-25``.
        now_seconds: Unix time.
        zone: whose clock the limits are told by; None: this machine's.
    """
    parts = [f"usage since {since}, days in UTC"]
    if books.lines:
        parts.append(_ledger(books.lines))
    else:
        parts.append("nothing was answered")
    if books.windows:
        told = (_window(window, now_seconds, zone) for window in books.windows)
        parts.append("\n".join(told))
    return "\n\n".join(parts)


def _ledger(lines: Sequence[tuple[UsageKey, UsageTotals]]) -> str:
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for account, spent in lines:
        words = (account.day, account.model, account.key, account.client)
        rows.append((*words, *_numbers(spent)))
    total = sum((spent for _, spent in lines), UsageTotals())
    rows.append(("total", "", "", "", *_numbers(total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_row(row, widths) for row in rows)


def _row(cells: Iterable[str], widths: Sequence[int]) -> str:
    placed = [
        cell.ljust(width) if number < _WORDS else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()


def _numbers(spent: UsageTotals) -> tuple[str, ...]:
    usage = spent.usage
    counts = (
        spent.answers,
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
    )
    return (*(f"{count:,}" for count in counts), f"${spent.cost_usd:,.4f}")


def _window(window: RateWindow, now_seconds: float, zone: tzinfo | None) -> str:
    text = _WINDOWS.get(window.name, window.name)
    if window.used is not None:
        text += f" {100 * window.used:.0f} %"
    text += _STATUS.get(window.status or "", "")
    if window.resets_seconds is None:
        return text
    now, resets = _clock(now_seconds, zone), _clock(window.resets_seconds, zone)
    pattern = "%H:%M" if resets.date() == now.date() else "%Y-%m-%d %H:%M"
    if window.resets_seconds <= now_seconds:
        return f"{text} when it was last told of; ended {resets:{pattern}}"
    return f"{text}, resets {resets:{pattern}}"


def _clock(seconds: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(seconds, zone)
