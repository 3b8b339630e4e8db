"""Finds the CLI's program, and checks the program and its version.

Source: docs/claude-cli-protocol.md, "Versions".
"""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.core.errors import Cause, ClaudeUnavailable

# Versions before 2.1.248 ignore `client_composed` and so read `@path` from the prompt.
# They cannot replace the system prompt of a running process. 2.1.251 is the oldest
# version with which the tests are run.
OLDEST_VERSION = (2, 1, 251)

# Source: docs/claude-cli-protocol.md, "Counting".
_COUNTS_FREELY = (2, 1, 265)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# `claude --version` takes 10 ms; a booting machine may need a minute.
_VERSION_SECONDS = 60
# A text in the stub that npm's package has until its install script has run.
_STUB = b"claude native binary not installed"
_STUB_BYTES = 4096


@frozen
class ClaudeBinary:
    """The CLI's path, and the place where it was found, such as ``on PATH``."""

    binary: Path
    place: str


def find_claude(explicit: Path | None, search_path: str | None) -> Path:
    """Find the CLI; see `locate_claude`."""
    return locate_claude(explicit, search_path).binary


def locate_claude(explicit: Path | None, search_path: str | None) -> ClaudeBinary:
    """Find the CLI: at ``explicit``, else on PATH, else in the wheel.

    Raises:
        ClaudeUnavailable: there is no CLI; the message says how to get one.
    """
    if explicit is not None:
        # A name alone may be a file in the working directory, or a program on PATH.
        beside = shutil.which(explicit.absolute())
        found = beside or shutil.which(str(explicit), path=search_path)
        if found is None:
            raise ClaudeUnavailable(
                f"--claude-bin: {explicit} is not an executable file",
                cause=Cause.CLI_NOT_FOUND,
            )
        return ClaudeBinary(Path(found).absolute(), "by --claude-bin")
    found = shutil.which("claude", path=search_path)
    if found is not None:
        return ClaudeBinary(Path(found).absolute(), "on PATH")
    bundled = _bundled_claude()
    if bundled is not None:
        return ClaudeBinary(bundled, "in the wheel claude-agent-sdk")
    raise ClaudeUnavailable(
        "the claude CLI was not found: install it, or "
        "`pip install 'ccproxy-server[claude]'`, or set its path with --claude-bin",
        cause=Cause.CLI_NOT_FOUND,
    )


def _bundled_claude() -> Path | None:
    spec = find_spec("claude_agent_sdk")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_bundled" / "claude"
        if binary.is_file():
            return binary
    return None


def identify(binary: Path) -> BinaryID | None:
    """The binary at a path; None: there is none."""
    try:
        path = os.path.realpath(binary)
        about = os.stat(path)
    except OSError:
        return None
    return BinaryID(path, about.st_size, about.st_mtime_ns, about.st_ino)


def check_program(binary: Path) -> None:
    """Refuse a file that is certainly not the CLI; reads 4 kB of the file.

    Raises:
        ClaudeUnavailable: the file is not the CLI; the message says what to do.
    """
    if not os.access(binary, os.X_OK):
        raise gone(binary)
    try:
        with binary.open("rb") as file:
            begin = file.read(_STUB_BYTES)
    except OSError:
        # A program may be executable, but not readable.
        return
    if _STUB in begin:
        raise ClaudeUnavailable(
            f"{binary} is not the claude CLI, but the stub in its npm package: npm did "
            "not run the package's install script, or left out its optional "
            "dependencies. Install it again without --ignore-scripts and "
            "--omit=optional, or run `node install.cjs` in the package's folder",
            cause=Cause.CLI_DOES_NOT_RUN,
        )


def gone(binary: Path) -> ClaudeUnavailable:
    """The error for a CLI that is no longer at its place."""
    return ClaudeUnavailable(
        f"the claude CLI at {binary} is gone or not executable; install it there or "
        "on PATH, or name another with --claude-bin",
        cause=Cause.CLI_NOT_FOUND,
    )


def read_version(binary: Path) -> str:
    """The CLI's version, such as ``2.1.330``; blocks for about 10 ms.

    Raises:
        ClaudeUnavailable: the program does not run, or prints no version.
    """
    check_program(binary)
    try:
        done = subprocess.run(  # noqa: S603
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClaudeUnavailable(
            f"{binary} does not run: {error}", cause=Cause.CLI_DOES_NOT_RUN
        ) from None
    match = _VERSION.search(done.stdout.decode("utf-8", "replace"))
    if match is None:
        raise ClaudeUnavailable(
            f"{binary} --version prints no version; is this the claude CLI?",
            cause=Cause.CLI_DOES_NOT_RUN,
        )
    return match[0]


def counts_freely(version: str | None) -> bool:
    """Whether a CLI of this version counts tokens without ever asking the model.

    Older versions ask the model, which is billed, if the provider does not count.

    Args:
        version: as the CLI reports it; None: it reports none, as older versions do.
    """
    match = _VERSION.search(version or "")
    return match is not None and tuple(map(int, match.groups())) >= _COUNTS_FREELY


def check_version(version: str) -> None:
    """Refuse a CLI that is too old to be safe.

    Raises:
        ClaudeUnavailable: the CLI is too old; the message says how to update it.
    """
    match = _VERSION.search(version)
    if match is None or tuple(map(int, match.groups())) < OLDEST_VERSION:
        raise too_old(version)


def too_old(version: str) -> ClaudeUnavailable:
    """The error for an old CLI; empty ``version``: the version is unknown."""
    oldest = ".".join(map(str, OLDEST_VERSION))
    what = f"version {version}" if version else "of an unknown version"
    return ClaudeUnavailable(
        f"the claude CLI is {what}; ccproxy needs {oldest} or newer, because older "
        "versions read local files that a prompt names (@path). Update it with `claude "
        "update`, or name another with --claude-bin",
        cause=Cause.CLI_TOO_OLD,
    )
