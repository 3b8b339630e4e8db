"""The document of ``GET /usage`` and ``ccproxy usage --json``."""

import json

from ccproxy.api.admin.documents import usage_document
from ccproxy.core.stream import Usage
from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals


def test_document_has_the_sums_and_the_limits() -> None:
    key = UsageKey("2026-11-25", "claude-sonnet-5-5", "1a2b3c4d", "curl")
    totals = UsageTotals(2, Usage(input_tokens=11, output_tokens=20), 227_300)
    window = RateWindow(
        name="five_hour",
        used=0.5,
        status="allowed",
        resets_seconds=1_700_000_000.0,
        reported_seconds=1_600_000_000.0,
    )
    report = UsageReport(((key, totals), (key, totals)), (window,))
    document = json.loads(usage_document(report, "2026-11-25"))
    # Clients know the document by this name.
    assert document["object"] == "ccproxy.usage"
    assert document["since"] == "2026-11-25"
    assert [line["input_tokens"] for line in document["lines"]] == [11, 11]
    assert document["total"]["answers"] == 4
    assert document["total"]["cost_usd"] == 0.0004546
    assert [limit["window"] for limit in document["rate_limits"]] == ["five_hour"]
