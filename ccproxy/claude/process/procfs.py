"""Live processes and their traces, as ``/proc`` and the CLI's own files have them.

Source: proc(5); docs/claude-cli-protocol.md, "What is left behind".
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ccproxy.claude.process.launch import MARKER


def marked_processes(mark: str, proc: Path = Path("/proc")) -> Sequence[int]:
    """Ids of the live processes that carry a session's mark; 2 ms for a hundred.

    Children of the CLI are found however they detached themselves, unless they
    scrubbed their environment. Empty where there is no ``/proc``.
    """
    needle = f"{MARKER}={mark}".encode()
    return [
        int(entry.name)
        for entry in _folders(proc)
        if entry.name.isdecimal() and needle in _environ(entry).split(b"\0")
    ]


def processes_in(folder: Path, proc: Path = Path("/proc")) -> Sequence[int]:
    """Ids of the live processes whose temporary files are kept within a folder."""
    needle = os.fsencode(f"TMPDIR={folder}/")
    return [
        int(entry.name)
        for entry in _folders(proc)
        if entry.name.isdecimal()
        and any(name.startswith(needle) for name in _environ(entry).split(b"\0"))
    ]


def resident_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """How much memory a process takes; 0 where there is no ``/proc``, or no process."""
    try:
        pages = (proc / str(pid) / "statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def is_stopped(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process was stopped (SIGSTOP) or has ended, as far as that is told."""
    try:
        state = (proc / str(pid) / "stat").read_bytes().rpartition(b") ")[2][:1]
    except OSError:
        return False
    return state in (b"T", b"t", b"Z", b"X")


class _SessionEntry(msgspec.Struct, rename="camel"):
    messaging_socket_path: str = ""


def leftovers(environment: Mapping[str, str], pid: int) -> Sequence[Path]:
    """Files that a CLI would have taken away, had it not been killed.

    Its entry in the list of running sessions, the key beside that, and its socket,
    which is elsewhere where the path to its temporary files is too long for one.
    """
    home = Path(environment.get("HOME") or "/")
    config = Path(environment.get("CLAUDE_CONFIG_DIR") or home / ".claude")
    found = list((config / "sessions").glob(f"{pid}.*"))
    for entry in found:
        if entry.name == f"{pid}.json":
            with suppress(OSError, msgspec.DecodeError):
                told = msgspec.json.decode(entry.read_bytes(), type=_SessionEntry)
                socket = Path(told.messaging_socket_path)
                if socket.name == f"{pid}.sock":
                    found.append(socket)
    return found


def _folders(proc: Path) -> Iterable[Path]:
    return proc.iterdir() if proc.is_dir() else ()


def _environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # gone meanwhile, or another user's
        return b""
