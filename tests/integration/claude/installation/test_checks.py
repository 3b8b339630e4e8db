"""All checks of the contract on a scripted CLI that lacks one behaviour."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from ccproxy.claude.installation.contract import (
    BEHAVIOURS,
    CONTRACT,
    NEWEST_TESTED,
    QUICK,
    Standing,
    standing,
)
from ccproxy.claude.installation.probe import Finding
from ccproxy.cli.conformance.checks import ConformanceRun
from ccproxy.cli.conformance.command import document, verdict
from ccproxy.config.settings import Settings
from ccproxy.core.errors import ClaudeUnavailable
from tests.conftest import ExpectedErrors
from tests.support.log_texts import OWN_REQUEST

_REACTOR: Any = reactor
# The server's tests have the others.
SLOW = sorted(BEHAVIOURS.keys() - QUICK)


async def found(binary: Path) -> tuple[list[Finding], str | None]:
    settings = Settings(api_keys=("k",), claude_bin=binary)
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    run = ConformanceRun(_REACTOR, settings, environment)
    return [finding async for finding in run.findings()], run.version


@ensureDeferred
async def test_one_that_lacks_nothing(merging: Callable[[str], Path]) -> None:
    findings, version = await found(merging("merges"))
    assert [finding.name for finding in findings if finding.difference] == []
    assert sorted(finding.name for finding in findings) == sorted(BEHAVIOURS)
    assert version == NEWEST_TESTED


@pytest.mark.parametrize("how", ["old", "2.1.248"])
@ensureDeferred
async def test_a_version_that_is_too_old_is_refused(
    merging: Callable[[str], Path], how: str
) -> None:
    with pytest.raises(ClaudeUnavailable, match=r"needs 2\.1\.251 or newer"):
        await found(merging(how))


@pytest.mark.parametrize("name", SLOW)
@ensureDeferred
async def test_one_that_lacks_a_behaviour(
    merging: Callable[[str], Path], expected_errors: ExpectedErrors, name: str
) -> None:
    expected_errors.allow(OWN_REQUEST)
    findings, _ = await found(merging(f"lacks:{name}"))
    assert [finding.name for finding in findings if finding.difference] == [name]


@pytest.mark.parametrize(
    ("version", "missing", "is_complete", "expected"),
    [
        (NEWEST_TESTED, [], True, Standing.TESTED),
        ("2.1.251", [], True, Standing.TESTED),
        ("2.1.333", [], True, Standing.NEWER),
        ("3.0.0", [], True, Standing.NEWER),
        (None, [], True, Standing.NEWER),
        (NEWEST_TESTED, [], False, Standing.UNCHECKED),
        (NEWEST_TESTED, ["cost"], False, Standing.FALLS_SHORT),
        ("2.1.251", ["native_manifest"], True, Standing.TESTED),
        ("2.1.280", ["native_manifest"], True, Standing.FALLS_SHORT),
        (None, ["native_manifest"], True, Standing.FALLS_SHORT),
    ],
)
def test_how_a_version_stands(
    version: str | None, missing: list[str], is_complete: bool, expected: Standing
) -> None:
    assert standing(version, missing, is_complete=is_complete) is expected


def test_the_document_names_what_is_missing() -> None:
    findings = [Finding(each.name) for each in CONTRACT]
    assert b'"ok": true' in document(findings, NEWEST_TESTED)
    findings.append(Finding("cost", "the cost is missing"))
    told = document(findings, NEWEST_TESTED)
    assert b'"ok": false' in told
    assert b'"standing": "falls_short"' in told
    assert b"the cost is missing" in told
    manifest = Finding("native_manifest", "it asks for the tools")
    assert verdict(manifest, "2.1.264") == "older"
    assert verdict(manifest, "2.1.265") == "missing"
