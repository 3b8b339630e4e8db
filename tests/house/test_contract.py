"""The contract with the CLI: its page, its checks, and its versions agree."""

import re

from ccproxy.claude.installation.checks import AT_START, CHECKS
from ccproxy.claude.installation.contract import (
    BEHAVIOURS,
    CONTRACT,
    NEWEST_TESTED,
    Behaviour,
)
from ccproxy.claude.native.checks import NATIVE_CHECKS
from tests.support.docs import DOCS, rows

PAGE = DOCS / "claude-cli-protocol.md"


def row(each: Behaviour) -> tuple[str, ...]:
    anchor = "#" + each.section.lower().replace(" ", "-").replace("'", "")
    quick = "yes" if each.is_quick else "no"
    return (
        f"`{each.name}`",
        f"{each.what} ([{each.section}]({anchor}))",
        each.since,
        each.loss,
        each.reaction.value,
        quick,
    )


def test_the_page_has_the_contract() -> None:
    expected = ["| " + " | ".join(row(each)) + " |" for each in CONTRACT]
    told = ["| " + " | ".join(each) + " |" for each in rows(PAGE, "contract")]
    assert told == expected, f"{PAGE.name} should have:\n" + "\n".join(expected)


def test_each_behaviour_has_one_check() -> None:
    checks = [*CHECKS, *AT_START, *NATIVE_CHECKS]
    assert sorted(checks) == sorted(BEHAVIOURS)
    assert len(BEHAVIOURS) == len(CONTRACT)


def test_the_page_names_the_newest_tested_version() -> None:
    [version] = re.findall(
        r"^\| (\S+) \| the newest version that was tested \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert version == NEWEST_TESTED
