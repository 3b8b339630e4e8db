"""The user's systemd: ``systemctl --user``."""

import getpass
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccproxy.cli.service.definition import ServiceDefinition
from ccproxy.cli.service.manager import NoManager, ServiceState, config_home
from ccproxy.cli.service.steps import RunCommand, Step, reason, run
from ccproxy.cli.service.systemd_unit import UNIT, arguments_of, key_file_of, unit_text
from ccproxy.server.systemd import FAILED

_SYSTEMCTL = ("systemctl", "--user")
_SHOWN = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID")
_PROPERTIES = (*_SHOWN, "NRestarts", "Result", "ActiveEnterTimestamp", "StatusText")
_LOG = ("journalctl", "--user", "--unit", UNIT)
_LOG_LINES = 5
_URL = re.compile(r"https?://[^\s,]+|--unix-socket \S+ [^\s,]+")


class Systemd:
    """The service as a unit of the user's systemd."""

    name = "systemd"
    log_command = " ".join(_LOG)

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.path: Path = config_home(environment) / "systemd" / "user" / UNIT
        self.environment = _with_bus(environment)

    def check(self) -> None:
        """Check that the user's systemd answers; see `ServiceManager`."""
        done = run((*_SYSTEMCTL, "show-environment"), self.environment)
        if done.returncode != 0:
            raise NoManager(
                f"the user's systemd does not answer ({reason(done)}); log in as this "
                "user, not with su or sudo, or run `loginctl enable-linger "
                f"{_user()}` as root first"
            )

    def text(self, service: ServiceDefinition) -> str:
        """The unit file."""
        return unit_text(service)

    def arguments(self, text: str) -> Sequence[str]:
        """The server's arguments in a unit file."""
        return arguments_of(text)

    def key_file(self, text: str) -> Path | None:
        """The file with the key, as a unit file names it."""
        return key_file_of(text)

    def is_running(self) -> bool:
        """Whether the unit is active and enabled."""
        found = self._properties()
        return (found.get("ActiveState"), found.get("UnitFileState")) == (
            "active",
            "enabled",
        )

    def start_steps(self) -> Sequence[Step]:
        """The steps that start the unit. The last one ends when the server is ready."""
        return (
            RunCommand((*_SYSTEMCTL, "daemon-reload")),
            RunCommand((*_SYSTEMCTL, "enable", UNIT)),
            # Otherwise, earlier failures count towards the unit's limit of starts.
            RunCommand((*_SYSTEMCTL, "reset-failed", UNIT), may_fail=True),
            RunCommand((*_SYSTEMCTL, "restart", UNIT)),
        )

    def stop_steps(self) -> Sequence[Step]:
        """The steps that stop the unit."""
        return (RunCommand((*_SYSTEMCTL, "disable", "--now", UNIT)),)

    def forget_steps(self) -> Sequence[Step]:
        """The steps that make systemd forget the unit."""
        return (
            RunCommand((*_SYSTEMCTL, "daemon-reload")),
            RunCommand((*_SYSTEMCTL, "reset-failed", UNIT), may_fail=True),
        )

    def failure(self) -> Sequence[str]:
        """Why the server could not start, or else the newest lines of the log."""
        message = self._message(self._properties())
        if message:
            return (message,)
        command = (*_LOG, "--lines", str(_LOG_LINES), "--output", "cat", "--no-pager")
        done = run(command, self.environment)
        return done.stdout.splitlines() if done.returncode == 0 else ()

    def hints(self) -> Sequence[str]:
        """Tell the operator if the service stops when the user logs out."""
        command = ("loginctl", "show-user", _user(), "--property=Linger", "--value")
        done = run(command, self.environment)
        if done.stdout.strip() == "yes":
            return ()
        return (
            "the service stops when you log out; `loginctl enable-linger` keeps it "
            "running, and starts it when the machine boots",
        )

    def state(self) -> ServiceState:
        """The state of the unit."""
        found = self._properties()
        active = found.get("ActiveState", "unknown")
        words = f"{active} ({found.get('SubState', 'unknown')})"
        if found.get("Result", "success") != "success":
            words += f", last result {found['Result']}"
        if found.get("ActiveEnterTimestamp") and active == "active":
            words += f", since {found['ActiveEnterTimestamp']}"
        lines = [("state", words)]
        if found.get("MainPID", "0") != "0":
            lines.append(("process", found["MainPID"]))
            lines.append(("restarts", found.get("NRestarts", "0")))
        lines.append(("at login", found.get("UnitFileState") or "not enabled"))
        if self._message(found):
            lines.append(("message", self._message(found)))
        url = _URL.search(found.get("StatusText", ""))
        return ServiceState(
            lines=lines, is_running=active == "active", url=url[0] if url else ""
        )

    def _message(self, found: Mapping[str, str]) -> str:
        """Why the server could not start; empty: the server has reported no reason."""
        text = found.get("StatusText", "")
        return text.removeprefix(FAILED).strip() if text.startswith(FAILED) else ""

    def _properties(self) -> Mapping[str, str]:
        names = ",".join(_PROPERTIES)
        done = run((*_SYSTEMCTL, "show", UNIT, f"--property={names}"), self.environment)
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        return {name: value for name, _, value in pairs}


def _with_bus(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with XDG_RUNTIME_DIR, by which systemctl finds the manager."""
    folder = Path("/run/user") / str(os.getuid())
    if environment.get("XDG_RUNTIME_DIR") or not folder.is_dir():
        return environment
    return {**environment, "XDG_RUNTIME_DIR": str(folder)}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return str(os.getuid())
