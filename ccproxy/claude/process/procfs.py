"""Finds processes in ``/proc``, and the files that a killed CLI leaves behind.

Source: proc(5); docs/claude-cli-protocol.md, "What is left behind".
"""

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from mmap import PAGESIZE
from pathlib import Path

import msgspec

from ccproxy.claude.process.launch import MARKER

_PROC = Path("/proc")


def marked_processes(mark: str, proc: Path = _PROC) -> Sequence[int]:
    """The ids of all processes that have a session's mark in their environment.

    This finds children of the CLI that have detached themselves, unless they have
    cleared their environment. The result is empty without ``/proc``.

    Cost: 2 ms for a hundred processes.
    """
    needle = f"{MARKER}={mark}".encode()
    return [
        int(entry.name)
        for entry in _folders(proc)
        if entry.name.isdecimal() and needle in _environ(entry).split(b"\0")
    ]


def processes_in(folder: Path, proc: Path = _PROC) -> Sequence[int]:
    """The ids of all processes whose temporary folder is within ``folder``."""
    needle = os.fsencode(f"TMPDIR={folder}/")
    return [
        int(entry.name)
        for entry in _folders(proc)
        if entry.name.isdecimal()
        and any(name.startswith(needle) for name in _environ(entry).split(b"\0"))
    ]


def resident_bytes(pid: int, proc: Path = _PROC) -> int:
    """The memory of a process; 0 without ``/proc``, or without the process."""
    pages = _read(proc, pid, "statm").split()[1:2]
    return int(pages[0]) * PAGESIZE if pages else 0


def is_stopped(pid: int, proc: Path = _PROC) -> bool:
    """Whether a process is stopped (SIGSTOP) or has ended; False if unknown."""
    state = _read(proc, pid, "stat").rpartition(b") ")[2][:1]
    return state in (b"T", b"t", b"Z", b"X")


class _SessionEntry(msgspec.Struct, rename="camel"):
    messaging_socket_path: str = ""
    cwd: str = ""


def leftovers(environment: Mapping[str, str], pid: int) -> Sequence[Path]:
    """The files that the CLI removes only at a normal end.

    These are the CLI's entry in its list of running sessions, the key beside the entry,
    and the CLI's socket. The socket is outside the temporary folder if the path of the
    folder is too long.
    """
    found = list(_sessions(environment).glob(f"{pid}.*"))
    for entry in found:
        if entry.name == f"{pid}.json":
            socket = Path(_session(entry).messaging_socket_path)
            if socket.name == f"{pid}.sock":
                found.append(socket)
    return found


def leftovers_in(environment: Mapping[str, str], folder: Path) -> Sequence[Path]:
    """The `leftovers` of all processes whose working directory was in a folder.

    Args:
        environment: the environment of the processes.
        folder: a folder that no process uses any more.
    """
    return [
        path
        for entry in _sessions(environment).glob("*.json")
        if entry.stem.isdecimal() and Path(_session(entry).cwd).is_relative_to(folder)
        for path in leftovers(environment, int(entry.stem))
    ]


def _sessions(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("HOME") or "/")
    return Path(environment.get("CLAUDE_CONFIG_DIR") or home / ".claude") / "sessions"


def _session(entry: Path) -> _SessionEntry:
    try:
        return msgspec.json.decode(entry.read_bytes(), type=_SessionEntry)
    except (OSError, msgspec.DecodeError):
        return _SessionEntry()


def kill_each(pids: Iterable[int]) -> None:
    """Kill processes that exist and belong to this user."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _read(proc: Path, pid: int, name: str) -> bytes:
    """A short file about a process; empty if the file does not exist.

    Two such files are read for each request, so no `Path` is made: that is slow.
    """
    try:
        with open(f"{proc}/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _folders(proc: Path) -> Iterable[Path]:
    return proc.iterdir() if proc.is_dir() else ()


def _environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # ended, or another user's process
        return b""
