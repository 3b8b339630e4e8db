"""The usage report as a table and as JSON."""

import json
from datetime import UTC, date, datetime

import pytest

from ccproxy.api.admin.documents import usage_document
from ccproxy.cli.usage.command import first_day
from ccproxy.cli.usage.table import table
from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals

NOW = datetime(2026, 11, 25, 12, 3, tzinfo=UTC).timestamp()
HOUR = 3600.0
TOKENS = Usage(
    input_tokens=1234567,
    cache_read_tokens=3,
    cache_write_tokens=2,
    output_tokens=20,
    thinking_tokens=5,
)
BOOKS = UsageReport(
    (
        (
            UsageKey("2026-11-24", "claude-sonnet-5-5", "1a2b3c4d", "openai-python"),
            UsageTotals(12, TOKENS, 227_300),
        ),
        (
            UsageKey("2026-11-25", "claude-opus-5", "-", "curl"),
            UsageTotals(1, Usage(output_tokens=7), 12_345_600_000),
        ),
    ),
    (
        RateWindow(
            name="five_hour",
            used=0.62,
            status="allowed",
            resets_seconds=NOW + 2 * HOUR - 180,
            reported_seconds=NOW,
        ),
        RateWindow(
            name="seven_day",
            used=0.935,
            status="allowed_warning",
            resets_seconds=NOW + 48 * HOUR,
            reported_seconds=NOW,
        ),
        RateWindow(
            name="seven_day_opus",
            used=1.0,
            status="rejected",
            resets_seconds=NOW - HOUR,
            reported_seconds=NOW,
        ),
        RateWindow(
            name="moon",
            used=None,
            status=None,
            resets_seconds=None,
            reported_seconds=NOW,
        ),
    ),
)

TABLE = """\
usage since 2026-11-19, days in UTC

day         model              key       client         answers      input  \
cache read  cache write  from cache  output      cost
2026-11-24  claude-sonnet-5-5  1a2b3c4d  openai-python       12  1,234,567  \
         3            2         0 %      20   $0.0002
2026-11-25  claude-opus-5      -         curl                 1          0  \
         0            0           -       7  $12.3456
total                                                        13  1,234,567  \
         3            2         0 %      27  $12.3458

5-hour window 62 %, resets 14:00
7-day window 94 %, nearly used up, resets 2026-11-27 12:03
7-day window, Opus 100 %, used up at the last report; ended 11:03
moon"""


def test_table() -> None:
    assert table(BOOKS, "2026-11-19", NOW, UTC) == TABLE


def test_table_by_one_field() -> None:
    report = UsageReport((*BOOKS.lines, *BOOKS.lines))
    rows = table(report, "2026-11-19", NOW, UTC, "model").splitlines()[2:]
    assert [row.split() for row in rows[1:]] == [
        ["claude-opus-5", "2", "0", "0", "0", "-", "14", "$24.6912"],
        ["claude-sonnet-5-5", "24", "2,469,134", "6", "4", "0", "%", "40", "$0.0005"],
        ["total", "26", "2,469,134", "6", "4", "0", "%", "54", "$24.6917"],
    ]
    assert rows[0].split()[:2] == ["model", "answers"]
    lines = json.loads(usage_document(report, "2026-11-19", "key"))["lines"]
    assert [line["key"] for line in lines] == ["-", "1a2b3c4d"]
    assert [line["answers"] for line in lines] == [2, 24]
    assert not any(name in line for line in lines for name in ("day", "model"))


def test_table_by_conversation() -> None:
    [(_, totals), _] = BOOKS.lines
    usage_key = UsageKey("2026-11-25", "", "1a2b3c4d", "curl", "0123456789abcdef")
    report = UsageReport(((usage_key, totals),))
    rows = table(report, "2026-11-19", NOW, UTC, "conversation").splitlines()[2:]
    assert rows[0].split("  ")[0] == "conversation"
    assert "  last day  " in rows[0]
    assert rows[1].split()[:4] == ["0123456789abcdef", "1a2b3c4d", "curl", "2026-11-25"]
    [line] = json.loads(usage_document(report, "2026-11-19", "conversation"))["lines"]
    assert (line["conversation"], line["day"]) == ("0123456789abcdef", "2026-11-25")
    assert "model" not in line


def test_empty_table() -> None:
    shown = table(UsageReport(), "2026-11-25", NOW, UTC)
    assert shown == "usage since 2026-11-25, days in UTC\n\nno requests were answered"


def test_document() -> None:
    document = json.loads(usage_document(BOOKS, "2026-11-19"))
    assert document["total"] == {
        "answers": 13,
        "input_tokens": 1234567,
        "cache_read_tokens": 3,
        "cache_write_tokens": 2,
        "output_tokens": 27,
        "thinking_tokens": 5,
        "cache_read_ratio": 3 / 1234572,
        "cost_usd": 12.3458273,
    }
    line = document["lines"][1]
    assert (line["day"], line["model"], line["key"], line["client"]) == (
        *("2026-11-25", "claude-opus-5"),
        *("-", "curl"),
    )
    assert line["cost_usd"] == 12.3456
    assert document["since"] == "2026-11-19"
    assert document["rate_limits"][0] == {
        "window": "five_hour",
        "used": 0.62,
        "status": "allowed",
        "resets_at": NOW + 2 * HOUR - 180,
        "told_at": NOW,
    }
    assert len(document["rate_limits"]) == 4


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2026-11-25"),
        ("1d", "2026-11-25"),
        ("0d", "2026-11-25"),
        ("7d", "2026-11-19"),
        (" 2W ", "2026-11-12"),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_since(text: str, day: str) -> None:
    assert first_day(text, date(2026, 11, 25)).isoformat() == day


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "2026-13-01", "7 d"])
def test_since_what(text: str) -> None:
    with pytest.raises(ValueError, match=r"--since: .* is none of 7d"):
        first_day(text, date(2026, 11, 25))
