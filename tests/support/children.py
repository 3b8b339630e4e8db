"""What a process has started."""

from pathlib import Path


def children_of(pid: int) -> set[int]:
    """The ids of its children that are alive or not reaped yet."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child) for child in path.read_text().split()}
