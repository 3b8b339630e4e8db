"""Finds other installed distributions that have ccproxy's command or import package.

Package registries have other projects named ``ccproxy``. If such a project is in the
same environment as this one, each overwrites files of the other.
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
    # `RECORD` is searched as text, because parsing it (`other.files`) takes ten times
    # as long. To read the name takes as long, too, so the caller does that last.
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
