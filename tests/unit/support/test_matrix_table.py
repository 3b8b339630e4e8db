"""The table of the tested versions of the CLI, as `python -m tests.matrix` keeps it."""

from collections.abc import Mapping
from typing import Any

import pytest

from ccproxy.claude.installation.contract import CONTRACT
from tests.matrix import table
from tests.matrix.table import Row

PAGE = f"""# Versions

| another | table |
|---|---|
| 2.1.1 | row |

{table.BEGIN}
{table.END}

More.
"""
TODAY = "2026-11-29"


def document(
    *, verdict: str = "ok", standing: str = "tested", difference: str | None = None
) -> Mapping[str, Any]:
    others = [{"name": each.name, "verdict": "ok"} for each in CONTRACT[1:]]
    first = {
        "name": CONTRACT[0].name,
        "verdict": verdict,
        "difference": difference,
    }
    return {"ok": verdict == "ok", "standing": standing, "checks": [first, *others]}


def test_rows_are_read_as_they_were_written() -> None:
    new = Row("2.1.300", "tested", "24 of 24", "nothing", TODAY, "9 passed")
    old = Row("2.1.99", "refused", date=TODAY)
    page = table.write(PAGE, [new, old])
    assert table.read(page) == {"2.1.99": old, "2.1.300": new}
    assert table.write(page, table.read(page).values()) == page
    assert page.index("| 2.1.99 |") < page.index("| 2.1.300 |")
    before, after = page.split(table.BEGIN)[0], page.split(table.END)[1]
    assert (before, after) == (PAGE.split(table.BEGIN)[0], "\n\nMore.\n")


def test_a_check_keeps_the_result_of_the_end_to_end_tests() -> None:
    before = Row("2.1.300", "falls_short", "1 of 24", "much", "2026-01-01", "9 passed")
    row = table.checked(before, document(), TODAY)
    count = f"{len(CONTRACT)} of {len(CONTRACT)}"
    assert row == Row("2.1.300", "tested", count, "nothing", TODAY, "9 passed")
    assert not row.has_failed


def test_what_a_version_lacks_is_named() -> None:
    found = document(verdict="fails", standing="falls_short", difference="a|b")
    row = table.checked(Row("2.1.300"), found, TODAY)
    assert row.lacks == f"`{CONTRACT[0].name}` (fails: a/b)"
    assert row.has_failed
    assert table.read(table.write(PAGE, [row])) == {"2.1.300": row}


@pytest.mark.parametrize(
    ("version", "result", "lacks", "has_failed"),
    [("2.1.1", "refused", "", False), ("2.1.300", "failed", "it crashed", True)],
)
def test_a_version_without_a_document(
    version: str, result: str, lacks: str, *, has_failed: bool
) -> None:
    row = table.checked(Row(version), {"error": "it crashed"}, TODAY)
    assert row == Row(version, result, lacks=lacks, date=TODAY)
    assert row.has_failed is has_failed


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ('tests="9" failures="0" errors="0" skipped="2"', "7 passed, 2 skipped"),
        ('tests="9" failures="1" errors="1" skipped="0"', "2 failed, 7 passed"),
    ],
)
def test_the_end_to_end_tests_are_counted(counts: str, text: str) -> None:
    found = table.end_to_end(f"<testsuites><testsuite {counts}/></testsuites>")
    assert found == text
    row = Row("2.1.300", "tested", end_to_end=found)
    assert row.has_failed is ("failed" in text)
