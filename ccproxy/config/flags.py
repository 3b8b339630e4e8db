"""The command-line flags of the server's options, for all commands of ccproxy."""

import shutil
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar, NoReturn

from twisted.python import usage
from typing_extensions import override

from ccproxy.config.help import VALUES, Entry, groups_of, paragraph, section
from ccproxy.config.options import Option
from ccproxy.config.settings import OPTIONS

# Longer lines are hard to read.
_MOST_COLUMNS = 100


class SettingsOptions(usage.Options):
    """Command-line parser for the flags of `OPTIONS`.

    A subclass adds its own flags as methods ``opt_…`` with a docstring.

    Attributes:
        given: the values of each flag, as typed and in order;
            `ccproxy.config.reading.read_settings` takes them as ``flags``.
        about: what the command does.
        metavars: for a subclass's own flags: the name of the value in ``--help``, by
            flag.
    """

    about: ClassVar[str] = ""
    metavars: ClassVar[Mapping[str, str]] = {}
    # Whether ``--help`` explains the server's options too.
    shows_settings: ClassVar[bool] = True

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = {}
        super().__init__()

    @override
    def getUsage(self, width: int | None = None) -> str:
        columns = shutil.get_terminal_size().columns
        width = width or min(columns, _MOST_COLUMNS)
        parts = ["", paragraph(self.about, width), ""]
        if self.shows_settings:
            parts += [paragraph(VALUES, width), ""]
            for title, entries in groups_of(OPTIONS).items():
                parts += [section(title, entries, width), ""]
            parts += [section("Other options", self._own_entries(), width)]
        else:
            parts += [section("Options", self._own_entries(), width), ""]
            parts += [
                "The options of the server, see `ccproxy --help`, apply here too."
            ]
        return "\n".join([*parts, ""])

    def _own_entries(self) -> list[Entry]:
        """The flags that a subclass has added, for ``--help``."""
        of_settings = {text.flag for option in OPTIONS for text in option.spellings}
        own = {name.removesuffix("=") for name in self.longOpt} - of_settings
        # Every command has these two flags; they come last.
        ordered = sorted(own, key=lambda flag: (flag in ("version", "help"), flag))
        return [
            Entry(f"--{flag} {self.metavars.get(flag, '')}".rstrip(), self._about(flag))
            for flag in ordered
        ]

    def _about(self, flag: str) -> str:
        """The help of a subclass's flag: the method's docstring, in lower case."""
        text = self.docs[flag].removesuffix(".")
        return f"{text[0].lower()}{text[1:]}"

    @override
    def opt_help(self) -> NoReturn:
        """Show this help, and exit."""
        print(self)
        sys.exit(0)


def _collector(option: Option, flag: str) -> Callable[..., None]:
    """Make the ``opt_…`` method that `usage.Options` calls for a flag."""

    def take(options: SettingsOptions, text: str) -> None:
        options.given.setdefault(flag, []).append(text)

    def switch(options: SettingsOptions) -> None:
        take(options, "1")

    return take if option.metavar else switch


def _add_flags() -> None:
    for option in OPTIONS:
        for spelling in option.spellings:
            if spelling.flag:
                method = _collector(option, spelling.flag)
                name = f"opt_{spelling.flag.replace('-', '_')}"
                setattr(SettingsOptions, name, method)
        if option.letter:
            same = getattr(SettingsOptions, f"opt_{option.flag.replace('-', '_')}")
            setattr(SettingsOptions, f"opt_{option.letter}", same)


_add_flags()
