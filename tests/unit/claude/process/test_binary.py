"""What the CLI's version says."""

import pytest

from ccproxy.claude.process.binary import counts_freely


@pytest.mark.parametrize(
    ("version", "is_free"),
    [
        *(("2.1.264", False), ("2.1.265", True), ("2.1.332 (Claude Code)", True)),
        *(("2.2.0", True), ("1.9.999", False), ("", False), (None, False)),
    ],
)
def test_versions_that_count_without_the_model(
    version: str | None, is_free: bool
) -> None:
    assert counts_freely(version) is is_free
