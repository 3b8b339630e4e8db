"""The number of CLI processes that fit into memory."""

import os
from pathlib import Path

# A CLI takes 110 to 200 MB; half of the memory is left to other programs.
_BYTES_EACH = 256 * 2**20
_SHARE = 0.5
_MOST = 8


def processes_for(memory_bytes: int) -> int:
    """The maximal number of CLI processes; at least one."""
    return min(max(int(memory_bytes * _SHARE) // _BYTES_EACH, 1), _MOST)


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The machine's memory, or the control group's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = cgroup.read_text().strip()
    except OSError:
        return total
    return min(total, int(allowed)) if allowed.isdecimal() else total
