"""The documents of ``GET /usage``, ``ccproxy usage`` and ``GET /ready``. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from attrs import asdict

from ccproxy.core.backend import Status
from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals, summed_by


class Window(msgspec.Struct):
    """A rate limit of the subscription; times are Unix seconds."""

    window: str
    used: float | None
    status: str | None
    resets_at: float | None
    told_at: float


class _Amount(msgspec.Struct, kw_only=True):
    answers: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    thinking_tokens: int
    cache_read_ratio: float | None
    cost_usd: float


class _Line(_Amount, kw_only=True, omit_defaults=True):
    day: str = ""
    model: str = ""
    key: str = ""
    client: str = ""
    conversation: str = ""


class UsageDocument(msgspec.Struct):
    """The usage since a day, in total and by day, model, key and client.

    With ``by``, the usage is grouped by only one of these, or by conversation. A
    conversation also has its key, client and last day.
    """

    object: str
    since: str
    total: _Amount
    lines: list[_Line]
    rate_limits: list[Window]


def window_documents(windows: Sequence[RateWindow]) -> list[Window]:
    """Convert rate limits to documents."""
    return [
        Window(
            window=window.name,
            used=window.used,
            status=window.status,
            resets_at=window.resets_seconds,
            told_at=window.reported_seconds,
        )
        for window in windows
    ]


def usage_document(report: UsageReport, since: str, by: str = "") -> bytes:
    """Encode a `UsageDocument`.

    Args:
        report: the usage ledger's report.
        since: the first day, as ``2026-11-25``.
        by: the field to group by; empty: all fields.
    """
    lines = summed_by(report.lines, by) if by else report.lines
    total = sum((totals for _, totals in report.lines), UsageTotals())
    return msgspec.json.encode(
        UsageDocument(
            object="ccproxy.usage",
            since=since,
            total=_Amount(**_amount(total)),
            lines=[_line(usage_key, totals) for usage_key, totals in lines],
            rate_limits=window_documents(report.windows),
        )
    )


def _line(usage_key: UsageKey, totals: UsageTotals) -> _Line:
    return _Line(**asdict(usage_key), **_amount(totals))


def _amount(totals: UsageTotals) -> Mapping[str, Any]:
    return {
        "answers": totals.answers,
        **totals.usage.counts,
        "cache_read_ratio": totals.usage.cache_read_ratio,
        "cost_usd": totals.cost_usd,
    }


class _Login(msgspec.Struct):
    present: bool
    source: str | None
    account: str | None
    subscription: str | None


class _Claude(msgspec.Struct):
    answers: bool
    version: str | None
    login: _Login
    composer: str
    why_native: str | None
    conformance: str
    falls_short_in: list[str]
    why_not_updated: str | None


class StatusDocument(msgspec.Struct):
    """The state of the CLI, its login, and the database.

    A server is ready without the database, because most requests need no stored data.
    """

    ready: bool
    claude: _Claude
    storage: Literal["ok", "failed"]
    rate_limits: list[Window]
    message: str


def status_document(known: Status, *, storage_failed: bool) -> bytes:
    """Encode a `StatusDocument`; its ``message`` describes the problem.

    Args:
        known: the state of the CLI.
        storage_failed: whether the database has failed.
    """
    message = "ready"
    if not known.answers:
        why = known.why_not or "see the proxy's log"
        message = f"the claude CLI does not answer: {why}"
    elif not known.is_logged_in:
        message = "the claude CLI is not logged in; `ccproxy doctor` says how to log in"
    elif storage_failed:
        message = "ready, but the database failed; see the proxy's log"
    login = _Login(known.is_logged_in, known.login, known.account, known.subscription)
    claude = _Claude(
        answers=known.answers,
        version=known.version,
        login=login,
        composer=known.composer,
        why_native=known.why_native or None,
        conformance=known.conformance,
        falls_short_in=list(known.falls_short_in),
        why_not_updated=known.why_not_updated or None,
    )
    windows = window_documents(known.windows)
    ready = known.answers and known.is_logged_in
    storage: Literal["ok", "failed"] = "failed" if storage_failed else "ok"
    document = StatusDocument(ready, claude, storage, windows, message)
    return msgspec.json.encode(document)
