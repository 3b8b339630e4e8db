"""The interface of a service manager, and the user's directories for its files."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen

from ccproxy.cli.service.definition import ServiceDefinition
from ccproxy.cli.service.steps import Step


class NoManager(Exception):
    """No service manager can be used; the message says what to do."""


@frozen(kw_only=True)
class ServiceState:
    """The state of the service, as its manager reports it.

    Attributes:
        lines: the name and the value of each line to show, in order.
        is_running: whether the server runs.
        url: the base URL of the API as the server has reported it; empty: unknown.
    """

    lines: Sequence[tuple[str, str]]
    is_running: bool
    url: str = ""


class ServiceManager(Protocol):
    """The user's service manager; it has at most one service of ccproxy.

    Attributes:
        name: the manager's name.
        path: the file that describes the service.
        log_command: the command that shows the server's log.
        environment: the environment of the manager's commands.
    """

    name: str
    path: Path
    log_command: str
    environment: Mapping[str, str]

    def check(self) -> None:
        """Check that the manager answers.

        Raises:
            NoManager: the manager does not answer.
        """

    def text(self, service: ServiceDefinition) -> str:
        """The content of the file that describes the service."""

    def arguments(self, text: str) -> Sequence[str]:
        """The server's arguments in a file that `text` has made."""

    def key_file(self, text: str) -> Path | None:
        """The key file that a file made by `text` names; None: unknown."""

    def is_running(self) -> bool:
        """Whether the service runs, and will run at the next login."""

    def start_steps(self) -> Sequence[Step]:
        """The steps that start or restart the service from the written file."""

    def stop_steps(self) -> Sequence[Step]:
        """The steps that stop the service, before its file is removed."""

    def forget_steps(self) -> Sequence[Step]:
        """The steps that follow after the service's file was removed."""

    def failure(self) -> Sequence[str]:
        """Lines that explain a failed start to the operator."""

    def hints(self) -> Sequence[str]:
        """What the operator should know after the installation."""

    def state(self) -> ServiceState:
        """The state of the service."""


def config_home(environment: Mapping[str, str]) -> Path:
    """The directory for a user's settings, by the XDG base directory specification.

    Raises:
        NoManager: the user has no home directory.
    """
    base = environment.get("XDG_CONFIG_HOME", "")
    return Path(base) if base.startswith("/") else home(environment) / ".config"


def home(environment: Mapping[str, str]) -> Path:
    """The user's home directory.

    Raises:
        NoManager: the variable ``HOME`` is not set.
    """
    if not environment.get("HOME", "").startswith("/"):
        raise NoManager("HOME is not set; set it to your home directory")
    return Path(environment["HOME"])


def has_program(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a program is on PATH."""
    return shutil.which(name, path=environment.get("PATH")) is not None
