"""The command ``ccproxy conformance``, and its exit statuses.

=====  ==================================================================
0      the CLI has every behaviour that its version should have
1      the CLI lacks a behaviour, or could not be checked
2      the command line or a setting is wrong; nothing was checked
130    the command was interrupted
=====  ==================================================================
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

import msgspec
from typing_extensions import override

from ccproxy import __version__
from ccproxy.claude.installation.contract import (
    BEHAVIOURS,
    NEWEST_TESTED,
    Standing,
    is_expected,
    standing,
)
from ccproxy.claude.installation.probe import Finding
from ccproxy.cli.command_line import CommandOptions, ExitStatus, fail
from ccproxy.cli.conformance.checks import ConformanceRun
from ccproxy.cli.interruption import run_until_interrupted
from ccproxy.core.errors import CCProxyError

_PASSED, _OLDER, _MISSING = "ok", "older", "missing"
_VERDICT_WIDTH = len(_MISSING)
_NAME_WIDTH = max(len(name) for name in BEHAVIOURS)


class ConformanceOptions(CommandOptions):
    """The command line of ``ccproxy conformance``."""

    program = "ccproxy conformance"
    about = (
        "Checks whether the claude CLI of this machine does what ccproxy relies on, in "
        "front of a scripted API on this machine: no login is used, nothing is sent to "
        "the provider. Exit status: 0: it does; 1: it lacks something; 2: the command "
        "line or a setting is wrong."
    )
    shows_settings = False
    needs_key = False
    is_json = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy conformance [--json] [the server's options]"

    def opt_json(self) -> None:
        """Print the results as one JSON document."""
        self.is_json = True


class _Check(msgspec.Struct):
    name: str
    verdict: str
    difference: str | None
    without_it: str


class _Document(msgspec.Struct):
    ok: bool
    version: str | None
    standing: str
    newest_tested: str
    ccproxy: str
    checks: list[_Check]


def verdict(finding: Finding, version: str | None) -> str:
    """``ok``, ``missing``, or ``older``: the version need not have the behaviour."""
    if not finding.difference:
        return _PASSED
    return _MISSING if is_expected(finding.name, version) else _OLDER


def line(finding: Finding, version: str | None) -> str:
    """A result as a line of text."""
    behaviour = BEHAVIOURS[finding.name]
    words = behaviour.what
    if finding.difference:
        words = f"{finding.difference}; {behaviour.reaction.value}: {behaviour.loss}"
    found = verdict(finding, version).ljust(_VERDICT_WIDTH)
    return f"{found}  {finding.name.ljust(_NAME_WIDTH)}  {' '.join(words.split())}"


def document(findings: Sequence[Finding], version: str | None) -> bytes:
    """The results as JSON, for scripts."""
    stands = standing_of(findings, version)
    checks = [
        _Check(
            f.name,
            verdict(f, version),
            f.difference or None,
            BEHAVIOURS[f.name].reaction.value,
        )
        for f in findings
    ]
    found = _Document(
        ok=stands is not Standing.FALLS_SHORT,
        version=version,
        standing=stands.value,
        newest_tested=NEWEST_TESTED,
        ccproxy=__version__,
        checks=checks,
    )
    return msgspec.json.format(msgspec.json.encode(found), indent=2)


def standing_of(findings: Sequence[Finding], version: str | None) -> Standing:
    """The version's `Standing` after all checks."""
    missing = [finding.name for finding in findings if finding.difference]
    return standing(version, missing, is_complete=True)


def run_conformance(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy conformance`` with these arguments, and exit."""
    options = ConformanceOptions()
    options.parseOptions(arguments)
    run_until_interrupted(lambda reactor: _check(reactor, options, sys.stdout))


async def _check(reactor: Any, options: ConformanceOptions, file: TextIO) -> int:
    run = ConformanceRun(reactor, options.settings, os.environ)
    findings: list[Finding] = []
    try:
        async for finding in run.findings():
            findings.append(finding)
            if not options.is_json:
                print(line(finding, run.version), file=file, flush=True)
    except CCProxyError as error:
        fail(options.program, error.message, ExitStatus.FAILED)
    stands = standing_of(findings, run.version)
    if options.is_json:
        print(document(findings, run.version).decode(), file=file)
    else:
        about = f"claude CLI {run.version or 'of unknown version'}: {stands.value}"
        print(f"{about} (newest tested version: {NEWEST_TESTED})", file=file)
    return ExitStatus.FAILED if stands is Standing.FALLS_SHORT else 0
