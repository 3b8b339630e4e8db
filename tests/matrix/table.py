"""The table in docs/cli-versions.md: a row for each version of the CLI.

A run replaces the results that it has, and keeps the others, each with its date.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

from ccproxy.claude.installation.contract import CONTRACT
from ccproxy.claude.process.binary import OLDEST_VERSION

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
_HEAD = (
    "| version | result | checks passed | what it lacks | checked on "
    "| end-to-end tests |\n|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Row:
    """What is known about a version. An empty text is a thing that was not tested."""

    version: str
    result: str = ""
    passed: str = ""
    lacks: str = ""
    date: str = ""
    end_to_end: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the version is supported, and not all is as it should be."""
        if not is_supported(self.version):
            return False
        falls_short = self.result not in ("tested", "newer_than_tested")
        return falls_short or "failed" in self.end_to_end

    @override
    def __str__(self) -> str:
        cells = (self.version, self.result, self.passed, self.lacks, self.date)
        return "| " + " | ".join((*cells, self.end_to_end)) + " |"


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it with another one."""
    return tuple(map(int, version.split(".")))


def is_supported(version: str) -> bool:
    """Whether the proxy starts this version."""
    return numbers(version) >= OLDEST_VERSION


def read(page: str) -> dict[str, Row]:
    """The rows of the page, by version."""
    _, _, rest = page.partition(BEGIN)
    inside, _, _ = rest.partition(END)
    lines = re.findall(r"^\| (\d.*) \|$", inside, re.MULTILINE)
    rows = (Row(*(cell.strip() for cell in line.split("|"))) for line in lines)
    return {row.version: row for row in rows}


def write(page: str, rows: Iterable[Row]) -> str:
    """The page with these rows, the oldest version first."""
    ordered = sorted(rows, key=lambda row: numbers(row.version))
    table = f"{BEGIN}\n{_HEAD}" + "".join(f"{row}\n" for row in ordered) + END
    return re.sub(f"{BEGIN}.*{END}", lambda _: table, page, flags=re.DOTALL)


def checked(row: Row, found: Mapping[str, Any], date: str) -> Row:
    """The row with the results of ``ccproxy conformance --json``.

    ``found`` has only ``error`` if the command printed no document.
    """
    version = row.version
    if "error" in found:
        result = "failed" if is_supported(version) else "refused"
        lacks = found["error"].replace("|", "/") if is_supported(version) else ""
        return replace(row, result=result, passed="", lacks=lacks, date=date)
    passed = sum(each["verdict"] == "ok" for each in found["checks"])
    lacks = ", ".join(
        f"`{each['name']}` ({each['verdict']}: {each['difference']})"
        for each in found["checks"]
        if each["verdict"] != "ok"
    )
    return replace(
        row,
        result=found["standing"] if is_supported(version) else "refused",
        passed=f"{passed} of {len(CONTRACT)}",
        lacks=(lacks or "nothing").replace("|", "/"),
        date=date,
    )


def end_to_end(report: str) -> str:
    """What a report of pytest in JUnit's format says: ``526 passed, 3 skipped``."""
    suites = list(ET.fromstring(report).iter("testsuite"))

    def count(name: str) -> int:
        return sum(int(suite.get(name, 0)) for suite in suites)

    failed, skipped = count("failures") + count("errors"), count("skipped")
    passed = count("tests") - failed - skipped
    counts = {"failed": failed, "passed": passed, "skipped": skipped}
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n)
