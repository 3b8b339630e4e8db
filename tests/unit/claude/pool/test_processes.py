"""The number of CLI processes that a machine has memory for."""

from pathlib import Path

import pytest

from ccproxy.claude.pool.processes import memory_bytes, processes_for

GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "processes"),
    [(0, 1), (GIB // 4, 1), (GIB, 2), (2 * GIB, 4), (4 * GIB, 8), (64 * GIB, 8)],
)
def test_half_of_the_memory_but_not_too_many(memory: int, processes: int) -> None:
    assert processes_for(memory) == processes


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = memory_bytes(limit)
    assert machine > 2**26
    limit.write_text("max\n")
    assert memory_bytes(limit) == machine
    limit.write_text("50000000\n")
    assert memory_bytes(limit) == 50_000_000
