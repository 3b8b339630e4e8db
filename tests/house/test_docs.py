"""What README and docs say is so."""

import re

from ccproxy.api.openapi.operations import OPERATIONS
from tests.support.docs import DOCS, README, ROOT, all_errors, rows

_CODE = re.compile(r"`(\w+)`")


def test_table_of_errors_is_the_code_s() -> None:
    told = {
        (int(status), code)
        for _, status, codes in rows(README, "errors")
        for code in _CODE.findall(codes)
    }
    missing, wrong = all_errors() - told, told - all_errors()
    assert not missing, f"README's table of errors lacks {sorted(missing)}"
    assert not wrong, f"README's table of errors has {sorted(wrong)}, the code has not"


def test_table_of_errors_is_in_order() -> None:
    statuses = [int(status) for _, status, _ in rows(README, "errors")]
    assert statuses == sorted(statuses)


def test_table_of_routes_is_the_document_s() -> None:
    told = ["| " + " | ".join(row) + " |" for row in rows(DOCS / "api.md", "routes")]
    expected = [f"| {o.method} | `{o.path}` | {o.summary} |" for o in OPERATIONS]
    assert told == expected, "docs/api.md should have:\n" + "\n".join(expected)


def test_changelog_grows() -> None:
    first = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == "Unreleased"


def test_links_lead_somewhere() -> None:
    for page in (README, *DOCS.rglob("*.md")):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            target, _, _ = link.partition("#")
            if target and ":" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {link}"
