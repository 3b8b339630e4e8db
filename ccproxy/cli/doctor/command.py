"""The command ``ccproxy doctor``, and its exit statuses.

=====  ==================================================================
0      no check failed
1      a check failed; its result says what to do
2      the command line or a setting is wrong; nothing was checked
130    the command was interrupted
=====  ==================================================================
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TextIO

from typing_extensions import override

from ccproxy import __version__
from ccproxy.cli.command_line import CommandOptions, ExitStatus
from ccproxy.cli.conformance.command import run_conformance
from ccproxy.cli.doctor.checks import examine
from ccproxy.cli.doctor.results import CheckResult, document, is_well
from ccproxy.cli.interruption import run_until_interrupted
from ccproxy.config.settings import SettingsError


class DoctorOptions(CommandOptions):
    """The command line of ``ccproxy doctor``."""

    program = "ccproxy doctor"
    about = (
        "Checks whether a server with the same options would work on this machine, and "
        "names a remedy for each problem. Changes nothing. Exit status: 0: every check "
        "passed; 1: a check failed; 2: the command line or a setting is wrong."
    )
    shows_settings = False
    needs_key = False
    asks = False
    is_json = False
    checks_contract = False

    @override
    def getSynopsis(self) -> str:
        return (
            "Usage: ccproxy doctor [--ask] [--conformance] [--json] [the server's "
            "options]"
        )

    def opt_ask(self) -> None:
        """Send one real request to the model; the account is charged for it."""
        self.asks = True

    def opt_conformance(self) -> None:
        """Run all checks of the CLI instead, as `ccproxy conformance` does."""
        self.checks_contract = True

    def opt_json(self) -> None:
        """Print the results as one JSON document."""
        self.is_json = True


class _Report:
    """Prints each result as soon as it is known."""

    def __init__(
        self, file: TextIO, environment: Mapping[str, str], *, is_json: bool
    ) -> None:
        self.results: list[CheckResult] = []
        self._file = file
        self._is_json = is_json
        self._is_colourful = (
            file.isatty()
            and not environment.get("NO_COLOR")
            and environment.get("TERM") != "dumb"
        )

    def add(self, result: CheckResult) -> None:
        """Record a result, and print it as a line unless ``--json`` was given."""
        self.results.append(result)
        if not self._is_json:
            print(result.line(colour=self._is_colourful), file=self._file, flush=True)

    def end(self) -> int:
        """With ``--json``, print the document; returns the exit status."""
        if self._is_json:
            print(document(self.results, __version__).decode(), file=self._file)
        return 0 if is_well(self.results) else ExitStatus.FAILED


def run_doctor(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy doctor`` with these arguments, and exit."""
    options = DoctorOptions()
    options.parseOptions(arguments)
    if options.checks_contract:
        run_conformance([each for each in arguments if each != "--conformance"])
    report = _Report(sys.stdout, os.environ, is_json=options.is_json)
    run_until_interrupted(lambda reactor: _examine(reactor, options, report))


async def _examine(reactor: Any, options: DoctorOptions, report: _Report) -> int:
    try:
        await examine(
            reactor, options.settings, os.environ, report.add, asks=options.asks
        )
    except SettingsError as error:
        options.refuse(str(error))
    return report.end()
