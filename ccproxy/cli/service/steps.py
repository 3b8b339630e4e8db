"""The steps of a change: files to write or remove, and commands to run.

A step is described with ``--dry-run``, and performed without it.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

_MODE = 0o600
_COMMAND_SECONDS = 120
_POLL_SECONDS = 0.2
_INDENT = "    "


class StepFailed(Exception):
    """A step could not be performed; the message is one line for the operator."""


class Step(Protocol):
    """One change of files or services on this machine."""

    @property
    def plan(self) -> str:
        """What the step will do, for ``--dry-run``."""

    def perform(self, environment: Mapping[str, str]) -> str:
        """Perform the step.

        Returns:
            What was done; empty: nothing that the operator must know.

        Raises:
            StepFailed: the step failed.
        """


@frozen
class WriteFile:
    """Writes a file that only its owner can read.

    Attributes:
        about: what the file is.
        is_secret: whether the content must not be printed.
    """

    path: Path
    content: str = field(repr=False)
    about: str
    is_secret: bool = False

    @property
    def plan(self) -> str:
        """The path, and the content unless it is secret."""
        head = f"write {self.path} ({self.about}; mode {_MODE:04o})"
        if self.is_secret:
            return head
        lines = (f"{_INDENT}{line}".rstrip() for line in self.content.splitlines())
        return "\n".join([f"{head}:", *lines])

    def perform(self, environment: Mapping[str, str]) -> str:
        """Replace the file atomically, so that no reader sees a half-written file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(
                dir=self.path.parent, prefix=f".{self.path.name}."
            )
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(self.content)
                os.chmod(name, _MODE)
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise StepFailed(f"cannot write {self.path}: {error.strerror}") from None
        return f"wrote {self.path} ({self.about}; mode {_MODE:04o})"


@frozen
class MakePrivate:
    """Makes a file accessible to its owner only."""

    path: Path

    @property
    def plan(self) -> str:
        """The path."""
        return f"make {self.path} readable by you only (mode {_MODE:04o})"

    def perform(self, environment: Mapping[str, str]) -> str:
        """Change the mode."""
        try:
            self.path.chmod(_MODE)
        except OSError as error:
            raise StepFailed(f"cannot chmod {self.path}: {error.strerror}") from None
        return f"made {self.path} readable by you only (mode {_MODE:04o})"


@frozen
class RemoveFile:
    """Removes a file."""

    path: Path

    @property
    def plan(self) -> str:
        """The path."""
        return f"remove {self.path}"

    def perform(self, environment: Mapping[str, str]) -> str:
        """Remove the file."""
        try:
            self.path.unlink()
        except OSError as error:
            raise StepFailed(f"cannot remove {self.path}: {error.strerror}") from None
        return f"removed {self.path}"


@frozen
class RunCommand:
    """Runs a command of the service manager.

    Attributes:
        may_fail: whether the next steps are performed even if the command fails.
    """

    command: Sequence[str]
    may_fail: bool = False

    @property
    def plan(self) -> str:
        """The command."""
        return f"run {' '.join(self.command)}"

    def perform(self, environment: Mapping[str, str]) -> str:
        """Run the command."""
        done = run(self.command, environment)
        if done.returncode == 0:
            return f"ran {' '.join(self.command)}"
        if self.may_fail:
            return ""
        raise StepFailed(f"{' '.join(self.command)} failed: {reason(done)}")


@frozen
class AwaitFailure:
    """Repeats a command that shows a service, until it fails: the service is gone."""

    command: Sequence[str]
    seconds: float

    @property
    def plan(self) -> str:
        """The command."""
        return f"wait until {' '.join(self.command)} fails"

    def perform(self, environment: Mapping[str, str]) -> str:
        """Repeat the command."""
        limit = time.monotonic() + self.seconds
        while run(self.command, environment).returncode == 0:
            if time.monotonic() > limit:
                raise StepFailed(
                    f"{' '.join(self.command)} still succeeds after {self.seconds:.0f} "
                    "s: the running service does not stop"
                )
            time.sleep(_POLL_SECONDS)
        return ""


def run(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command, and wait for it; a command that cannot be run has status 127."""
    try:
        return subprocess.run(  # noqa: S603
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"no answer within {_COMMAND_SECONDS} s"
    except OSError as error:
        why = error.strerror or str(error)
    return subprocess.CompletedProcess(command, 127, "", why)


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a command failed, in one line."""
    text = " ".join((done.stderr or done.stdout).split())
    return text.rstrip(".") or f"status {done.returncode}"
