"""Distributions that are in the way of this one."""

from pathlib import Path

import pytest

from ccproxy.cli.distribution import (
    DISTRIBUTION,
    conflict_message,
    conflicting_distributions,
)

COMMAND = "[console_scripts]\n{name} = other.cli:main\n"


@pytest.mark.parametrize(
    ("name", "record", "entry_points", "conflicts"),
    [
        ("stranger", "ccproxy/__init__.py,,\n", "", True),
        ("stranger", "other/x.py,,\nccproxy/cli.py,,\n", "", True),
        ("stranger", "other/x.py,,\n", COMMAND.format(name="ccproxy"), True),
        ("stranger", "other/x.py,,\n", COMMAND.format(name="claude-code-proxy"), True),
        ("stranger", "other/ccproxy/x.py,,\n", COMMAND.format(name="cc"), False),
        ("stranger", "ccproxy_other/x.py,,\n", "", False),
        (DISTRIBUTION, "ccproxy/__init__.py,,\n", "", False),
    ],
)
def test_who_owns_our_files_or_commands(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    record: str,
    entry_points: str,
    conflicts: bool,
) -> None:
    folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n")
    (folder / "RECORD").write_text(record)
    (folder / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    found = conflicting_distributions()
    assert (name in found) is conflicts
    assert DISTRIBUTION not in found


def test_message_names_them_and_what_helps() -> None:
    message = conflict_message(["ccproxy", "other"])
    assert "ccproxy, other in this environment" in message
    assert "a separate environment" in message
