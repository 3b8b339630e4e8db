"""Formats the usage report as a table. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals, summed_by

_KEYS = ("day", "model", "key", "client")
_CONVERSATION_KEYS = ("conversation", "key", "client", "last day")
_NUMBERS = (
    *("answers", "input", "cache read", "cache write", "from cache"),
    *("output", "cost"),
)
_WINDOWS = {
    "five_hour": "5-hour window",
    "seven_day": "7-day window",
    "seven_day_opus": "7-day window, Opus",
    "seven_day_sonnet": "7-day window, Sonnet",
    "overage": "extra usage",
}
_STATUS = {"allowed_warning": ", nearly used up", "rejected": ", used up"}


def table(
    report: UsageReport,
    since: str,
    now_seconds: float,
    zone: tzinfo | None,
    by: str = "",
) -> str:
    """Format the usage by day, model, key and client, and the rate limits.

    Args:
        report: the usage ledger's report.
        since: the first day, as ``2026-11-25``.
        now_seconds: the Unix time.
        zone: the time zone in which reset times are shown; None: the local one.
        by: the field to group by; empty: all fields.
    """
    parts = [f"usage since {since}, days in UTC"]
    if report.lines:
        lines = summed_by(report.lines, by) if by else report.lines
        keys = {"": _KEYS, "conversation": _CONVERSATION_KEYS}.get(by, (by,))
        parts.append(_ledger(lines, keys))
    else:
        parts.append("no requests were answered")
    if report.windows:
        limits = (_window(window, now_seconds, zone) for window in report.windows)
        parts.append("\n".join(limits))
    return "\n\n".join(parts)


def _ledger(lines: Sequence[tuple[UsageKey, UsageTotals]], keys: Sequence[str]) -> str:
    rows: list[tuple[str, ...]] = [(*keys, *_NUMBERS)]
    for usage_key, totals in lines:
        words = (getattr(usage_key, name.removeprefix("last ")) for name in keys)
        rows.append((*words, *_numbers(totals)))
    total = sum((totals for _, totals in lines), UsageTotals())
    rows.append(("total", *("" for _ in keys[1:]), *_numbers(total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_row(row, widths, len(keys)) for row in rows)


def _row(cells: Iterable[str], widths: Sequence[int], texts: int) -> str:
    """Format a line; the first ``texts`` columns are left-aligned, the others right."""
    placed = [
        cell.ljust(width) if number < texts else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()


def _numbers(totals: UsageTotals) -> tuple[str, ...]:
    usage = totals.usage
    ratio = usage.cache_read_ratio
    inputs = (
        totals.answers,
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
    )
    return (
        *(f"{count:,}" for count in inputs),
        "-" if ratio is None else f"{100 * ratio:.0f} %",
        f"{usage.output_tokens:,}",
        f"${totals.cost_usd:,.4f}",
    )


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
        return f"{text} at the last report; ended {resets:{pattern}}"
    return f"{text}, resets {resets:{pattern}}"


def _clock(seconds: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(seconds, zone)
