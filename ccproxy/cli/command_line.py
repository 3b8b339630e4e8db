"""Reads the command line of a ccproxy command. Every error is one line on stderr.

The exit statuses of the commands:

=====  ==================================================================
0      the command succeeded
1      the command failed
2      the command line or a setting is wrong
130    the command was interrupted
=====  ==================================================================
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from enum import IntEnum
from getopt import GetoptError
from typing import ClassVar, NoReturn

from twisted.python import usage
from typing_extensions import override

from ccproxy import __version__
from ccproxy.config.flags import ProgramOptions, SettingsOptions
from ccproxy.config.reading import read_settings
from ccproxy.config.settings import Settings, SettingsError
from ccproxy.server.systemd import FAILED, notify


class ExitStatus(IntEnum):
    """The exit status of a command that did not succeed; see the module's table."""

    FAILED = 1
    MISUSED = 2
    INTERRUPTED = 130  # the status that shells report for SIGINT


class Command(ProgramOptions):
    """The command line of one command.

    Attributes:
        program: the name of the command in error messages.
    """

    program: ClassVar[str]

    @override
    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse a command line; an error ends the program with status 2."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            meant = self._nearest_flag(error.__context__)
            hint = f"did you mean --{meant}? See" if meant else "see"
            self.refuse(f"{error}; {hint} `{self.program} --help`")
        except SettingsError as error:
            self.refuse(str(error))

    @override
    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"unexpected argument {args[0]!r}")

    @override
    def opt_version(self) -> NoReturn:
        """Show the version of ccproxy, and exit."""
        print(f"ccproxy {__version__}")
        sys.exit(0)

    def _nearest_flag(self, cause: BaseException | None) -> str | None:
        """The existing flag that is most similar to an unknown flag."""
        if not isinstance(cause, GetoptError) or f"{cause.opt}=" in self.longOpt:
            return None
        flags = [flag.removesuffix("=") for flag in self.longOpt]
        return next(iter(get_close_matches(cause.opt, flags, 1)), None)

    def refuse(self, message: str) -> NoReturn:
        """End the program with status 2: the command line or a setting is wrong."""
        fail(self.program, message, ExitStatus.MISUSED)


class CommandOptions(Command, SettingsOptions):
    """The command line of a command that has the server's options, too.

    Attributes:
        needs_key: whether a missing API key is an error.
        settings: made from flags and environment variables by `parseOptions`.
    """

    needs_key: ClassVar[bool] = True
    settings: Settings

    @override
    def postOptions(self) -> None:
        self.settings = read_settings(self.given, os.environ, needs_key=self.needs_key)


def fail(program: str, message: str, status: ExitStatus) -> NoReturn:
    """End the program with one line on stderr, and tell the service manager."""
    print(f"{program}: {message}", file=sys.stderr)
    # `systemctl status` shows this text to users who cannot read the journal.
    notify(f"STATUS={FAILED} {message}", os.environ)
    sys.exit(status)
