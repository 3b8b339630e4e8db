"""Finds other installed distributions that have ccproxy's command or import package.

Package registries have other projects of the name ``ccproxy``. In one environment, such
a project and this one overwrite each other's files.
"""

from collections.abc import Sequence
from importlib.metadata import Distribution, distributions

DISTRIBUTION = "ccproxy-server"
_COMMANDS = ("ccproxy", "claude-code-proxy")


def conflicting_distributions() -> Sequence[str]:
    """The names of distributions with the same commands or files as this one."""
    return sorted(
        {
            name
            for other in distributions()
            if _conflicts(other) and (name := other.metadata["Name"]) != DISTRIBUTION
        }
    )


def _conflicts(other: Distribution) -> bool:
    # `RECORD` is searched as text: to parse it (`other.files`) takes ten times as long.
    # So does reading a name, which the caller therefore does last.
    commands = other.entry_points.select(group="console_scripts")
    if any(command.name in _COMMANDS for command in commands):
        return True
    record = other.read_text("RECORD") or ""
    return record.startswith("ccproxy/") or "\nccproxy/" in record


def conflict_message(names: Sequence[str]) -> str:
    """The message for conflicting distributions: the reason and the remedy."""
    return (
        f"{', '.join(names)} in this environment has files or commands with the same "
        "names as ccproxy's; install ccproxy-server in a separate environment"
    )
