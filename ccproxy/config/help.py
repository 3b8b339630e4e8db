"""Formats the text of ``--help``: the options in groups, and the syntax of values."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from ccproxy.config.options import Option

VALUES = (
    "TIME is a number of seconds, or has a unit: 90, 90s, 10m, 2h, 1d. "
    "SIZE is a number of bytes, or has a unit: 500000, 600MB, 4MiB. "
    "An option can also be set by the environment variable in [brackets]; the flag "
    "takes precedence. The variable of a switch is 1 or 0."
)

# The column where an option's explanation begins; after a longer flag, the explanation
# begins on the next line.
_COLUMN = 30
_NARROWEST = 50


@frozen
class Entry:
    """One option as ``--help`` shows it."""

    flags: str
    text: str


def entry_of(option: Option) -> Entry:
    """Make the entry of one of the server's options."""
    short = f"-{option.letter}, " if option.letter else ""
    value = f" {option.metavar}" if option.metavar else ""
    default = option.default_text or option.default
    about = f"{option.variable}; default: {default}" if default else option.variable
    return Entry(f"{short}--{option.flag}{value}", f"{option.help} [{about}]")


def groups_of(options: Iterable[Option]) -> Mapping[str, Sequence[Entry]]:
    """Make the entries of all options that are not hidden, by their group's heading."""
    found: dict[str, list[Entry]] = {}
    for option in options:
        if not option.is_hidden:
            found.setdefault(option.group.value, []).append(entry_of(option))
    return found


def paragraph(text: str, width: int) -> str:
    """Wrap a text to ``width`` columns."""
    return textwrap.fill(text, max(width, _NARROWEST), break_on_hyphens=False)


def section(title: str, entries: Iterable[Entry], width: int) -> str:
    """Format a heading and its entries, wrapped to ``width`` columns."""
    lines = [f"{title}:"]
    for entry in entries:
        flags = f"  {entry.flags}"
        wrapped = textwrap.wrap(
            entry.text,
            max(width, _NARROWEST) - _COLUMN,
            break_on_hyphens=False,
            break_long_words=False,
        )
        if len(flags) <= _COLUMN - 2:
            flags = f"{flags.ljust(_COLUMN)}{wrapped.pop(0)}"
        lines.append(flags)
        lines += [f"{'':{_COLUMN}}{line}" for line in wrapped]
    return "\n".join(lines)
