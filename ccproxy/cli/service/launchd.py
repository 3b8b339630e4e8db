"""The user's launchd: ``launchctl`` in the domain of the user's graphical session."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccproxy.cli.service.definition import ServiceDefinition
from ccproxy.cli.service.launchd_agent import (
    LABEL,
    agent_text,
    arguments_of,
    exit_timeout_of,
    key_file_of,
)
from ccproxy.cli.service.manager import NoManager, ServiceState, home
from ccproxy.cli.service.steps import AwaitFailure, RunCommand, Step, reason, run

# launchd kills an agent that does not stop within its ExitTimeOut. The reserve is for
# launchd's own work.
_RESERVE_SECONDS = 10.0
# The limit if no property list tells an ExitTimeOut.
_STOP_SECONDS = 70.0
_LOG_LINES = 5
_FIELD = re.compile(r"^\t(state|pid|runs|last exit code) = (.+)$", re.MULTILINE)


class Launchd:
    """The service as an agent of the user's launchd."""

    name = "launchd"

    def __init__(self, environment: Mapping[str, str]) -> None:
        library = home(environment) / "Library"
        self.path: Path = library / "LaunchAgents" / f"{LABEL}.plist"
        self._log = library / "Logs" / "ccproxy.log"
        self.log_command = f"tail {self._log}"
        self.environment = environment
        self._domain = f"gui/{os.getuid()}"
        self._target = f"{self._domain}/{LABEL}"

    def check(self) -> None:
        """Check that launchd answers; see `ServiceManager`."""
        done = run(("launchctl", "print", self._domain), self.environment)
        if done.returncode != 0:
            raise NoManager(
                f"launchd has no session for this user ({reason(done)}); log in on "
                "this machine's screen first"
            )

    def text(self, service: ServiceDefinition) -> str:
        """The agent's property list."""
        return agent_text(service, self._log)

    def arguments(self, text: str) -> Sequence[str]:
        """The server's arguments in a property list."""
        return arguments_of(text)

    def key_file(self, text: str) -> Path | None:
        """The file with the key, as a property list names it."""
        return key_file_of(text)

    def is_running(self) -> bool:
        """Whether the agent's process runs."""
        return self._fields().get("state") == "running"

    def start_steps(self) -> Sequence[Step]:
        """The steps that start the agent; launchd does not wait for the server."""
        return (
            *self.stop_steps(),
            RunCommand(("launchctl", "enable", self._target)),
            RunCommand(("launchctl", "bootstrap", self._domain, str(self.path))),
        )

    def stop_steps(self) -> Sequence[Step]:
        """The steps that stop the agent."""
        return (
            RunCommand(("launchctl", "bootout", self._target), may_fail=True),
            # `bootstrap` fails while the former process runs. `bootout` does not wait.
            AwaitFailure(("launchctl", "print", self._target), self._stop_seconds()),
        )

    def _stop_seconds(self) -> float:
        """The longest time that the agent, as it is installed now, takes to stop."""
        try:
            return exit_timeout_of(self.path.read_text()) + _RESERVE_SECONDS
        except (OSError, ValueError):
            return _STOP_SECONDS

    def forget_steps(self) -> Sequence[Step]:
        """No steps: `bootout` has made launchd forget the agent."""
        return ()

    def failure(self) -> Sequence[str]:
        """The newest lines of the log."""
        try:
            return self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except OSError:
            return ()

    def hints(self) -> Sequence[str]:
        """No hints."""
        return ()

    def state(self) -> ServiceState:
        """The state of the agent."""
        found = self._fields()
        words = found.get("state", "not loaded")
        if "last exit code" in found:
            words += f", last exit code {found['last exit code']}"
        lines = [("state", words)]
        if "pid" in found:
            lines.append(("process", found["pid"]))
            lines.append(("starts", found.get("runs", "1")))
        return ServiceState(lines=lines, is_running=words.startswith("running"))

    def _fields(self) -> Mapping[str, str]:
        done = run(("launchctl", "print", self._target), self.environment)
        return dict(_FIELD.findall(done.stdout)) if done.returncode == 0 else {}
