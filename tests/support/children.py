"""The processes that a process started."""

from pathlib import Path


def children_of(pid: int) -> set[int]:
    """The ids of a process's children that are alive or not reaped yet."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child) for child in path.read_text().split()}


def processes_of(word: object) -> list[int]:
    """The ids of the live processes with a word in their command."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(word).encode() in command:
                found.append(int(entry.name))
    return found
