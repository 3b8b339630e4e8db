"""Other installed distributions that have ccproxy's command or import package.

Package registries have projects of the name ``ccproxy`` that are not this one. Two of
them in one environment overwrite each other's files.
"""

from collections.abc import Sequence
from importlib.metadata import Distribution, distributions

DISTRIBUTION = "ccproxy-server"
_COMMANDS = ("ccproxy", "claude-code-proxy")


def conflicting_distributions() -> Sequence[str]:
    """The names of other distributions that own files or commands of this one."""
    return sorted(
        {
            name
            for other in distributions()
            if _conflicts(other) and (name := other.metadata["Name"]) != DISTRIBUTION
        }
    )


def _conflicts(other: Distribution) -> bool:
    # Names come last, and `files` is not used: both take ten times as long.
    commands = other.entry_points.select(group="console_scripts")
    if any(command.name in _COMMANDS for command in commands):
        return True
    record = other.read_text("RECORD") or ""
    return record.startswith("ccproxy/") or "\nccproxy/" in record


def conflict_message(names: Sequence[str]) -> str:
    """Why the distributions are in the way, and what to do."""
    return (
        f"{', '.join(names)} in this environment has files or commands of the same "
        "names as ccproxy: install ccproxy-server in an environment of its own"
    )
