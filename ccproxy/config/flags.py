"""The command-line flags of ccproxy's commands, and those of the server's options."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NoReturn

from twisted.python import usage
from typing_extensions import override

from ccproxy.config.help import VALUES, Entry, groups_of, paragraph, section
from ccproxy.config.options import Option
from ccproxy.config.settings import OPTIONS

# Longer lines are hard to read.
_MOST_COLUMNS = 100


class ProgramOptions(usage.Options):
    """Command-line parser of one command; each flag is a method ``opt_…``.

    The docstring of the method is the flag's help.

    Attributes:
        about: what the command does.
        metavars: the name of a flag's value in ``--help``, by flag.
        choices: the possible values of a flag, by flag; for completion by shells.
    """

    about: ClassVar[str] = ""
    metavars: ClassVar[Mapping[str, str]] = {}
    choices: ClassVar[Mapping[str, Sequence[str]]] = {}

    @override
    def getUsage(self, width: int | None = None) -> str:
        columns = shutil.get_terminal_size().columns
        width = width or min(columns, _MOST_COLUMNS)
        parts = ["", paragraph(self.about, width), "", *self._sections(width), ""]
        return "\n".join(parts)

    def _sections(self, width: int) -> Sequence[str]:
        """The sections of ``--help`` after the introduction."""
        return [section("Options", self.own_entries(), width)]

    def own_flags(self) -> Sequence[str]:
        """The flags of this command alone, without dashes."""
        # Every command has these two flags; they come last.
        own = {name.removesuffix("=") for name in self.longOpt}
        return sorted(own, key=lambda flag: (flag in ("version", "help"), flag))

    def own_entries(self) -> list[Entry]:
        """The flags of this command alone, for ``--help``."""
        return [
            Entry(f"--{flag} {self.metavars.get(flag, '')}".rstrip(), self._about(flag))
            for flag in self.own_flags()
        ]

    def _about(self, flag: str) -> str:
        """The help of a flag: the method's docstring, in lower case."""
        text = self.docs[flag].removesuffix(".")
        return f"{text[0].lower()}{text[1:]}"

    @override
    def opt_help(self) -> NoReturn:
        """Show this help, and exit."""
        print(self)
        sys.exit(0)


class SettingsOptions(ProgramOptions):
    """Command-line parser for the flags of `OPTIONS`, and those of a subclass.

    Attributes:
        given: the values of each flag, as typed and in order;
            `ccproxy.config.reading.read_settings` takes them as ``flags``.
    """

    # Whether ``--help`` explains the server's options too.
    shows_settings: ClassVar[bool] = True

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = {}
        super().__init__()

    @override
    def _sections(self, width: int) -> Sequence[str]:
        if not self.shows_settings:
            return [
                *super()._sections(width),
                "",
                "The options of the server, see `ccproxy --help`, apply here too.",
            ]
        parts = [paragraph(VALUES, width), ""]
        for title, entries in groups_of(OPTIONS).items():
            parts += [section(title, entries, width), ""]
        return [*parts, section("Other options", self.own_entries(), width)]

    @override
    def own_flags(self) -> Sequence[str]:
        of_settings = {text.flag for option in OPTIONS for text in option.spellings}
        return [flag for flag in super().own_flags() if flag not in of_settings]


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
