"""The server's command line: ``ccproxy``, which runs ``twistd -n ccproxy``.

`ccproxy.config.settings.Settings` declares the options. The error for a wrong setting
is one line on stderr, which names the setting.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from twisted.scripts.twistd import run
from typing_extensions import override

from ccproxy import __version__
from ccproxy.claude.process.binary import check_version, find_claude, read_version
from ccproxy.cli.command_line import CommandOptions, ExitStatus, fail
from ccproxy.cli.commands import COMMANDS
from ccproxy.cli.distribution import conflict_message, conflicting_distributions
from ccproxy.config.settings import Settings, SettingsError
from ccproxy.core.errors import ClaudeUnavailable
from ccproxy.server.logging import observer
from ccproxy.server.service import CannotListen, Server, make_service, running_reactor
from ccproxy.server.systemd import READY, STOPPING, notify

_log = Logger()

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Time for a server to stop after the second signal.
_STOP_NOW_SECONDS = 2.0


class Options(CommandOptions):
    """The command line of the server."""

    program = "ccproxy"
    about = (
        "Serves the model behind a logged-in Claude Code CLI to clients of OpenAI's "
        "and Anthropic's APIs, at http://HOST:PORT/v1. `ccproxy doctor` checks whether "
        "a server with the same options would work on this machine, `ccproxy "
        "conformance` whether the CLI does what ccproxy relies on. `ccproxy ready` "
        "asks a running server whether it is ready. `ccproxy usage` shows used tokens "
        "and their cost. `ccproxy service` installs the server as your own service."
    )

    @override
    def getSynopsis(self) -> str:
        return (
            "Usage: ccproxy [options]  or  twistd [twistd options] ccproxy [options]\n"
            "       ccproxy doctor [--ask] [--json] [options]\n"
            "       ccproxy conformance [--json] [options]\n"
            "       ccproxy ready [options]\n"
            "       ccproxy usage [--since 7d] [--by WHAT] [--json] [options]\n"
            "       ccproxy service install | status | uninstall [options]\n"
            "       ccproxy completion bash | zsh | fish"
        )

    @override
    def parseArgs(self, *args: str) -> None:
        if args and args[0] in COMMANDS:
            raise usage.UsageError(f"{args[0]!r} must come before the options")
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
    """The server as twistd runs it: sets up the log, signals, and systemd notices."""

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
        # twistd passes its application, and then looks for a log observer in it.
        if isinstance(parent, Componentized) and not self._twistd.get("syslog"):
            observer = _observer(self._twistd, self._settings)
            parent.setComponent(ILogObserver, observer)
        super().setServiceParent(parent)

    def _take_signals(self) -> None:
        """Handle the signals that stop the server, in place of Twisted's handlers.

        Twisted fails if a second signal comes before Twisted has handled the first.
        """
        for number in _STOPPING:
            handler = signal.getsignal(number)
            # Under `nohup`, SIGHUP is ignored, and stays ignored.
            if callable(handler) or handler is signal.SIG_DFL:
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        """Handle the first signal: SIGTERM, SIGINT, or a closed terminal's SIGHUP."""
        self._expect_second_signal()
        reactor = running_reactor()
        name = signal.Signals(number).name
        text = "Received {name}, shutting down."
        reactor.callFromThread(_log.info, text, name=name)
        reactor.callFromThread(reactor.stop)

    def _expect_second_signal(self) -> None:
        for number in _STOPPING:
            if callable(signal.getsignal(number)):
                signal.signal(number, self._stop_now)

    def _stop_now(self, number: int, frame: object) -> None:
        """Handle the second signal: stop without waiting for answers."""
        # A third signal kills the process. So does the timer below.
        for other in _STOPPING:
            if callable(signal.getsignal(other)):
                signal.signal(other, signal.SIG_DFL)
        reactor = running_reactor()
        reactor.callFromThread(self._server.stop_now)
        reactor.callFromThread(
            reactor.callLater, _STOP_NOW_SECONDS, os.kill, os.getpid(), number
        )

    @override
    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except CannotListen as error:
            # The parent process of a daemon reports exceptions, but not SystemExit.
            if not self._twistd.get("nodaemon"):
                raise
            fail(Options.program, str(error), ExitStatus.FAILED)

    @override
    def startService(self) -> None:
        super().startService()
        # Twisted installs its handlers when the reactor starts to run.
        running_reactor().callWhenRunning(self._take_signals)
        places = ", ".join(self._server.places())
        notify(f"{READY}\nSTATUS=listens on {places}", os.environ)

    @override
    def stopService(self) -> "Deferred[Any]":
        self._expect_second_signal()
        notify(f"{STOPPING}\nSTATUS=waits for running answers", os.environ)
        stopped: Deferred[Any] = super().stopService()
        return stopped.addCallback(self._stopped)

    def _stopped(self, result: Any) -> Any:
        notify("STATUS=stopped", os.environ)
        return result


def makeService(options: Options) -> IService:  # twistd looks for this name
    """Make the server. Called by twistd."""
    try:
        server = make_service(options.settings)
    except SettingsError as error:
        options.refuse(str(error))
    conflicting = conflicting_distributions()
    if conflicting:
        _log.warn("{message}", message=conflict_message(conflicting))
    # Imported modules are never freed. If a full garbage collection visited their
    # objects, it would block the reactor for 70 ms.
    gc.freeze()
    _use_monotonic_clock(running_reactor())
    return _Application(server, options.parent or {}, options.settings)


def _use_monotonic_clock(reactor: Any) -> None:
    """Make a reactor measure time with the monotonic clock.

    By default a reactor uses the system's clock. If that clock were set forward, all
    time limits would pass at once; if it were set back, they would grow. Nothing is
    changed if the reactor already has a delayed call.
    """
    if reactor.seconds is time.time and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic


def main() -> None:
    """Run ``twistd -n ccproxy`` with the arguments of ``ccproxy``."""
    # No pid file: the server runs in the foreground.
    sys.argv[:] = ["twistd", "-n", "--pidfile=", "ccproxy", *sys.argv[1:]]
    run()


def _claude(explicit: Path | None) -> Path:
    return find_claude(explicit, os.environ.get("PATH"))


def _observer(twistd: Mapping[str, Any], settings: Settings) -> ILogObserver:
    """The log observer for stdout, or for twistd's log file, which rotates."""
    name = twistd.get("logfile")
    file: Any = sys.stdout
    if name not in (None, "", "-") or not (name or twistd.get("nodaemon")):
        file = LogFile.fromFullPath(name or "twistd.log")
        _rotate_on_signal(file)
    return observer(file, level=settings.log_level, log_format=settings.log_format)


def _rotate_on_signal(file: LogFile) -> None:
    """Rotate the log file on SIGUSR1, as twistd does with its own log file."""
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        reactor = running_reactor()
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
