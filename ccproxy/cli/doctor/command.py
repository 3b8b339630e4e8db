"""``ccproxy doctor``: the command.

=====  ==================================================================
0      nothing is wrong
1      something is; the verdicts say what helps
2      the command line or a setting is; nothing was looked at
=====  ==================================================================
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.python import usage
from typing_extensions import override

from ccproxy import __version__
from ccproxy.cli.doctor.examination import examine
from ccproxy.cli.doctor.verdict import CheckResult, document, is_well
from ccproxy.config.flags import SettingsOptions
from ccproxy.config.settings import Settings, SettingsError, read_settings

_WRONG, _MISUSED, _INTERRUPTED = 1, 2, 130


class DoctorOptions(SettingsOptions):
    """The doctor's command line: the server's, and two more."""

    longdesc = (
        "Looks at what a server with the same options would meet here, and says what "
        "helps. Changes nothing. Exit status: 0 all is well, 1 something is wrong, "
        "2 the command line or a setting is."
    )
    asks = False
    is_json = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy doctor [--ask] [--json] [the server's options]"

    @override
    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"{args[0]!r} is no option")

    def opt_ask(self) -> None:
        """Send one real question, which the account is charged for."""
        self.asks = True

    def opt_json(self) -> None:
        """Write one JSON document instead of lines."""
        self.is_json = True


class _Report:
    """Tells each verdict when it is found."""

    def __init__(
        self, file: TextIO, environment: Mapping[str, str], *, is_json: bool
    ) -> None:
        self.verdicts: list[CheckResult] = []
        self._file = file
        self._is_json = is_json
        self._is_colourful = (
            file.isatty()
            and not environment.get("NO_COLOR")
            and environment.get("TERM") != "dumb"
        )

    def add(self, verdict: CheckResult) -> None:
        """Take one."""
        self.verdicts.append(verdict)
        if not self._is_json:
            print(verdict.line(colour=self._is_colourful), file=self._file, flush=True)

    def end(self) -> int:
        """Say what is left to say; the exit status."""
        if self._is_json:
            print(document(self.verdicts, __version__).decode(), file=self._file)
        return 0 if is_well(self.verdicts) else _WRONG


def run_doctor(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy doctor`` with these arguments, and exit."""
    options = DoctorOptions()
    try:
        options.parseOptions(arguments)
        settings = read_settings(options.given, os.environ, needs_key=False)
    except usage.UsageError as error:
        _misused(f"{error}; see `ccproxy doctor --help`")
    except SettingsError as error:
        _misused(str(error))
    report = _Report(sys.stdout, os.environ, is_json=options.is_json)
    react(_main, (settings, os.environ, report, options.asks))


def _misused(message: str) -> NoReturn:
    print(f"ccproxy doctor: {message}", file=sys.stderr)
    sys.exit(_MISUSED)


async def _main(
    reactor: Any,
    settings: Settings,
    environment: Mapping[str, str],
    report: _Report,
    asks: bool,
) -> NoReturn:
    work = Deferred.fromCoroutine(
        examine(reactor, settings, environment, report.add, asks=asks)
    )
    gone: Deferred[None] = Deferred()

    def interrupted() -> "Deferred[None] | None":
        if work.called:
            return None
        work.cancel()
        return gone

    # Ctrl-C: the CLI and its folder go first.
    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    try:
        await work
    except CancelledError:
        sys.exit(_INTERRUPTED)
    except SettingsError as error:
        _misused(str(error))
    finally:
        gone.callback(None)
    sys.exit(report.end())
