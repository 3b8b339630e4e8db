"""The command line: ``twistd ccproxy``, and ``ccproxy`` as short for it.

Every option comes from `ccproxy.config.settings.OPTIONS`. A wrong setting is one line
on stderr that names it, not a page of help.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from twisted.scripts.twistd import run
from typing_extensions import override

from ccproxy import __version__
from ccproxy.claude.process.launch import check_version, find_claude, read_version
from ccproxy.cli.command_line import CommandOptions, ExitStatus, fail
from ccproxy.config.settings import Settings, SettingsError
from ccproxy.core.errors import ClaudeUnavailable
from ccproxy.server.logging import observer
from ccproxy.server.service import CannotListen, Server, make_service, running_reactor
from ccproxy.server.systemd import READY, STOPPING, notify

# How long a server has that was told twice to end.
_HASTE_SECONDS = 2.0


class Options(CommandOptions):
    """The command line of a server."""

    program = "ccproxy"
    about = (
        "Serves the model behind a logged-in Claude Code CLI to clients of OpenAI's "
        "and Anthropic's APIs, at http://HOST:PORT/v1. `ccproxy doctor` checks whether "
        "a server with the same options would work on this machine. `ccproxy usage` "
        "shows what was used."
    )

    @override
    def getSynopsis(self) -> str:
        return (
            "Usage: ccproxy [options]  or  twistd [twistd options] ccproxy [options]\n"
            "       ccproxy doctor [--ask] [--json] [options]\n"
            "       ccproxy usage [--since 7d] [--json] [options]"
        )

    @override
    def parseArgs(self, *args: str) -> None:
        if args and args[0] in _COMMANDS:
            raise usage.UsageError(f"{args[0]!r} has to stand before the options")
        super().parseArgs(*args)

    @override
    def postOptions(self) -> None:
        super().postOptions()
        try:
            binary = _claude(self.settings.claude_bin)
        except ClaudeUnavailable as error:
            if self.settings.claude_bin is not None:
                self.refuse(str(error))
            fail(self.program, str(error), ExitStatus.FAILED)
        try:
            check_version(read_version(binary))
        except ClaudeUnavailable as error:
            fail(self.program, str(error), ExitStatus.FAILED)

    @override
    def opt_version(self) -> NoReturn:
        """Show the versions of ccproxy and of the claude CLI, and exit."""
        print(f"ccproxy {__version__}")
        named = self.given.get("claude-bin") or [os.environ.get("CLAUDE_BIN", "")]
        try:
            binary = _claude(Path(named[-1]) if named[-1] else None)
            print(f"claude {read_version(binary)} ({binary})")
        except ClaudeUnavailable as error:
            print(f"claude: {error}")
        sys.exit(0)


class _Application(MultiService):
    """The server as twistd runs it: its log, its refusal to start, its manager."""

    def __init__(
        self, server: Server, twistd: Mapping[str, Any], settings: Settings
    ) -> None:
        super().__init__()
        self._twistd = twistd
        self._settings = settings
        self._server = server
        server.setServiceParent(self)

    @override
    def setServiceParent(self, parent: Any) -> None:
        # twistd gives us its application here, and looks for an observer next.
        if isinstance(parent, Componentized) and not self._twistd.get("syslog"):
            observer = _observer(self._twistd, self._settings)
            parent.setComponent(ILogObserver, observer)
        super().setServiceParent(parent)

    def _stop_now(self, number: int, frame: object) -> None:
        """End now what the first signal has begun to end in good order."""
        # Should even this be too slow, by the system's own hand: for the next signal,
        # and soon without one.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        reactor = running_reactor()
        reactor.callFromThread(self._server.stop_now)
        reactor.callFromThread(
            reactor.callLater, _HASTE_SECONDS, os.kill, os.getpid(), number
        )

    @override
    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except CannotListen as error:
            # A daemon's parent waits to be told, by an exception that is no exit.
            if not self._twistd.get("nodaemon"):
                raise
            fail(Options.program, str(error), ExitStatus.FAILED)

    @override
    def startService(self) -> None:
        super().startService()
        notify(READY, os.environ)

    @override
    def stopService(self) -> "Deferred[Any]":
        for number in (signal.SIGTERM, signal.SIGINT):
            if callable(signal.getsignal(number)):
                signal.signal(number, self._stop_now)
        notify(STOPPING, os.environ)
        stopped: Deferred[Any] = super().stopService()
        return stopped


def makeService(options: Options) -> IService:  # twistd's name for it
    """Make the server; called by twistd."""
    try:
        server = make_service(options.settings)
    except SettingsError as error:
        options.refuse(str(error))
    # What is there now stays; a collection that walked through it again would stop
    # every stream for 70 ms.
    gc.freeze()
    _measure_by_no_calendar(running_reactor())
    return _Application(server, options.parent or {}, options.settings)


def _measure_by_no_calendar(reactor: Any) -> None:
    """Let time limits be measured by a clock that nobody sets.

    Twisted measures by the time of day: a step of it forwards would end every answer at
    once, and one backwards let each go on for as long. Only before anything is timed.
    """
    if reactor.seconds is time.time and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic


def main() -> None:
    """Run in the foreground: ``ccproxy …`` is ``twistd -n ccproxy …``.

    ``ccproxy doctor …`` and ``ccproxy usage …`` are other programs.
    """
    command = _COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if command is not None:
        command(sys.argv[2:])
    # No pid file: this process is its caller's own child.
    sys.argv[:] = ["twistd", "-n", "--pidfile=", "ccproxy", *sys.argv[1:]]
    run()


def _doctor(arguments: Sequence[str]) -> NoReturn:
    # A server need not have it in memory.
    from ccproxy.cli.doctor.command import run_doctor

    run_doctor(arguments)


def _usage(arguments: Sequence[str]) -> NoReturn:
    from ccproxy.cli.usage.command import run_usage

    run_usage(arguments)


_COMMANDS: Mapping[str, Callable[[Sequence[str]], NoReturn]] = {
    "doctor": _doctor,
    "usage": _usage,
}


def _claude(explicit: Path | None) -> Path:
    return find_claude(explicit, os.environ.get("PATH"))


def _observer(twistd: Mapping[str, Any], settings: Settings) -> ILogObserver:
    """Write where twistd would: to the terminal, or to a file that rotates."""
    name = twistd.get("logfile")
    file: Any = sys.stdout
    if name not in (None, "", "-") or not (name or twistd.get("nodaemon")):
        file = LogFile.fromFullPath(name or "twistd.log")
        _rotate_on_signal(file)
    return observer(file, level=settings.log_level, log_format=settings.log_format)


def _rotate_on_signal(file: LogFile) -> None:
    """Rotate on SIGUSR1, as twistd does with the log that is its own."""
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        reactor = running_reactor()
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
