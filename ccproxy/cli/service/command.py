"""The command ``ccproxy service``, and its exit statuses.

=====  ==================================================================
0      the action is done; `status`: the service runs, and its server is ready
1      the action failed; `status`: there is no service, or it is not ready
2      the command line or a setting is wrong; nothing was changed
=====  ==================================================================
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from typing_extensions import override

from ccproxy.cli.command_line import Command, CommandOptions, ExitStatus, fail
from ccproxy.cli.service.definition import MARK
from ccproxy.cli.service.install import Installation, NotInstalled
from ccproxy.cli.service.launchd import Launchd
from ccproxy.cli.service.manager import NoManager, ServiceManager, has_program
from ccproxy.cli.service.status import ServiceStatus, left_behind, status_of
from ccproxy.cli.service.steps import RemoveFile, Step, StepFailed
from ccproxy.cli.service.systemd import Systemd
from ccproxy.config.reading import read_settings
from ccproxy.config.settings import SettingsError

# The variables of the shell that can change the settings of the service.
_KEPT = ("PROXY_API_KEY", "PROXY_API_KEY_FILE", "HOME", "XDG_STATE_HOME")


class ServiceOptions(Command):
    """The command line of ``ccproxy service`` without an action."""

    program = "ccproxy service"
    about = (
        "Installs the server as your own service: a unit of the user's systemd, or an "
        "agent of launchd on macOS. `install` writes and starts the service, `status` "
        "shows whether the service works, `uninstall` stops and removes the service. "
        "Each action has its own --help."
    )

    @override
    def getSynopsis(self) -> str:
        return (
            "Usage: ccproxy service install [--dry-run] [--force] [the server's "
            "options]\n"
            "       ccproxy service status\n"
            "       ccproxy service uninstall [--dry-run] [--force]"
        )


class ServiceInstallOptions(CommandOptions):
    """The command line of ``ccproxy service install``."""

    program = "ccproxy service install"
    about = (
        "Writes a service that runs the server with the given options, starts it, and "
        "makes it start when you log in. The API key is taken from --api-key, "
        "PROXY_API_KEY or --api-key-file; otherwise a new key is made. The key is "
        "stored in a file that only you can read. Repeat the command to change the "
        "options. Of the shell's other variables, the service gets PATH only."
    )
    shows_settings = False
    needs_key = False
    is_dry = False
    is_forced = False

    @override
    def getSynopsis(self) -> str:
        return (
            "Usage: ccproxy service install [--dry-run] [--force] [the server's "
            "options]"
        )

    @override
    def postOptions(self) -> None:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.settings = read_settings(self.given, kept, needs_key=False)

    def opt_dry_run(self) -> None:
        """Print what would be done, and do nothing."""
        self.is_dry = True

    def opt_force(self) -> None:
        """Replace files that this command has not written."""
        self.is_forced = True


class ServiceStatusOptions(Command):
    """The command line of ``ccproxy service status``."""

    program = "ccproxy service status"
    about = (
        "Shows the state of the service, its address, and what GET /ready says. Exit "
        "status: 0: the service runs and is ready; 1: the service is not ready."
    )

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy service status"


class ServiceUninstallOptions(Command):
    """The command line of ``ccproxy service uninstall``."""

    program = "ccproxy service uninstall"
    about = (
        "Stops the service and removes its file. The key and the stored data stay; the "
        "command says where they are."
    )
    is_dry = False
    is_forced = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy service uninstall [--dry-run] [--force]"

    def opt_dry_run(self) -> None:
        """Print what would be done, and do nothing."""
        self.is_dry = True

    def opt_force(self) -> None:
        """Remove the service's file even if this command has not written it."""
        self.is_forced = True


def run_service(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy service`` with these arguments, and exit."""
    action = ACTIONS.get(arguments[0]) if arguments else None
    if action is not None:
        action(arguments[1:])
    options = ServiceOptions()
    options.parseOptions(arguments)
    options.refuse("say what to do: install, status or uninstall")


def _install(arguments: Sequence[str]) -> NoReturn:
    options = ServiceInstallOptions()
    options.parseOptions(arguments)
    manager = _manager(options.program, is_dry=options.is_dry)
    try:
        installation = Installation.plan(
            manager,
            options.settings,
            options.given,
            os.environ,
            sys.argv[0],
            is_forced=options.is_forced,
        )
    except SettingsError as error:
        options.refuse(str(error))
    except (NotInstalled, NoManager) as error:
        fail(options.program, str(error), ExitStatus.FAILED)
    _perform(options.program, installation.steps, manager, is_dry=options.is_dry)
    if not options.is_dry:
        for line in installation.report():
            print(line)
    for line in installation.notes:
        print(f"note: {line}")
    sys.exit(0)


def _status(arguments: Sequence[str]) -> NoReturn:
    options = ServiceStatusOptions()
    options.parseOptions(arguments)
    manager = _manager(options.program)
    status: ServiceStatus = status_of(manager, os.environ)
    for name, words in status.lines:
        print(f"{name.ljust(9)} {words}")
    sys.exit(0 if status.is_ready else ExitStatus.FAILED)


def _uninstall(arguments: Sequence[str]) -> NoReturn:
    options = ServiceUninstallOptions()
    options.parseOptions(arguments)
    manager = _manager(options.program, is_dry=options.is_dry)
    try:
        text = manager.path.read_text(errors="replace")
    except FileNotFoundError:
        print(f"there is no service: {manager.path} does not exist")
        sys.exit(0)
    except OSError as error:
        why = f"cannot read {manager.path}: {error.strerror}"
        fail(options.program, why, ExitStatus.FAILED)
    if MARK not in text and not options.is_forced:
        fail(
            options.program,
            f"{manager.path} was not written by `ccproxy service install`; remove it "
            "with --force",
            ExitStatus.FAILED,
        )
    left = left_behind(manager, text, os.environ)
    steps = (
        *manager.stop_steps(),
        RemoveFile(manager.path),
        *manager.forget_steps(),
    )
    _perform(options.program, steps, manager, is_dry=options.is_dry)
    for path, what in left:
        print(f"kept {path} ({what})")
    sys.exit(0)


def _manager(program: str, *, is_dry: bool = False) -> ServiceManager:
    """The user's service manager; with ``is_dry``, the manager need not answer."""
    try:
        manager = _find_manager(os.environ)
        if not is_dry:
            manager.check()
    except NoManager as error:
        fail(program, str(error), ExitStatus.FAILED)
    return manager


def _find_manager(environment: Mapping[str, str]) -> ServiceManager:
    if has_program("systemctl", environment):
        return Systemd(environment)
    if has_program("launchctl", environment):
        return Launchd(environment)
    raise NoManager(
        "neither systemd (systemctl) nor launchd (launchctl) is on PATH; run `ccproxy` "
        "in the foreground under your own service manager instead"
    )


def _perform(
    program: str, steps: Sequence[Step], manager: ServiceManager, *, is_dry: bool
) -> None:
    for step in steps:
        if is_dry:
            print(f"would {step.plan}")
            continue
        try:
            done = step.perform(manager.environment)
        except StepFailed as error:
            for line in manager.failure():
                print(f"log: {line}", flush=True)
            why = f"{error}; see `{manager.log_command}`"
            fail(program, why, ExitStatus.FAILED)
        if done:
            # Flushed, so that the line comes before an error on stderr.
            print(done, flush=True)


ACTIONS: Mapping[str, Callable[[Sequence[str]], NoReturn]] = {
    "install": _install,
    "status": _status,
    "uninstall": _uninstall,
}
