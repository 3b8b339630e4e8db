"""Makes the completion scripts and the man page from the declarations of the options.

``python -m tests.support.reference`` writes these files. The command needs shtab.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from ccproxy.claude.models import FAMILIES
from ccproxy.cli.command_line import Command
from ccproxy.cli.completion.command import SCRIPTS, CompletionOptions
from ccproxy.cli.conformance.command import ConformanceOptions
from ccproxy.cli.doctor.command import DoctorOptions
from ccproxy.cli.main import Options
from ccproxy.cli.ready import ReadyOptions
from ccproxy.cli.service.command import (
    ServiceInstallOptions,
    ServiceOptions,
    ServiceStatusOptions,
    ServiceUninstallOptions,
)
from ccproxy.cli.usage.command import UsageOptions
from ccproxy.config.flags import SettingsOptions
from ccproxy.config.help import VALUES, Entry, groups_of
from ccproxy.config.options import Option
from ccproxy.config.parsers import Choice
from ccproxy.config.settings import OPTIONS
from tests.support.docs import ROOT

# Where a help text goes into details.
_END = re.compile(r"[.;:] |, for example|\.$| \[default")

SCRIPT_FOLDER = ROOT / "ccproxy" / "cli" / "completion" / "scripts"
MAN_PAGE = ROOT / "contrib" / "man" / "ccproxy.1"


@frozen
class CommandTree:
    """A command with its parts, such as ``service`` with ``service install``."""

    options: Command
    parts: Mapping[str, "CommandTree"] = field(factory=dict)
    words: tuple[str, ...] = ()


def tree() -> CommandTree:
    """All commands."""
    service = {
        "install": CommandTree(ServiceInstallOptions()),
        "status": CommandTree(ServiceStatusOptions()),
        "uninstall": CommandTree(ServiceUninstallOptions()),
    }
    parts = {
        "completion": CommandTree(CompletionOptions(), words=tuple(SCRIPTS)),
        "conformance": CommandTree(ConformanceOptions()),
        "doctor": CommandTree(DoctorOptions()),
        "ready": CommandTree(ReadyOptions()),
        "service": CommandTree(ServiceOptions(), service),
        "usage": CommandTree(UsageOptions()),
    }
    return CommandTree(Options(), parts)


def scripts() -> Mapping[Path, str]:
    """The completion scripts, by their path."""
    import shtab

    parser = argparse.ArgumentParser("ccproxy", add_help=False)
    _fill(parser, tree())
    return {
        SCRIPT_FOLDER / name: shtab.complete(parser, shell)
        for shell, name in SCRIPTS.items()
    }


def _fill(parser: argparse.ArgumentParser, command: CommandTree) -> None:
    for option in OPTIONS:
        if isinstance(command.options, SettingsOptions) and not option.is_hidden:
            letter = (f"-{option.letter}",) if option.letter else ()
            _add(
                parser,
                (*letter, f"--{option.flag}"),
                help=_brief(option.help),
                metavar=option.metavar,
                choices=_choices(option),
            )
    own = command.options
    for flag, entry in zip(own.own_flags(), own.own_entries(), strict=True):
        _add(
            parser,
            (f"--{flag}",),
            help=_brief(entry.text),
            metavar=own.metavars.get(flag, ""),
            choices=tuple(own.choices.get(flag, ())),
        )
    if command.words:
        parser.add_argument("word", choices=command.words)
    if command.parts:
        parts = parser.add_subparsers()
        for name, part in command.parts.items():
            about = _brief(part.options.about)
            _fill(parts.add_parser(name, add_help=False, help=about), part)


def _add(
    parser: argparse.ArgumentParser,
    names: tuple[str, ...],
    *,
    help: str,
    metavar: str,
    choices: tuple[str, ...],
) -> None:
    import shtab

    text = help.replace("%", "%%")
    if not metavar:
        parser.add_argument(*names, help=text, action="store_true")
        return
    action = parser.add_argument(
        *names, help=text, metavar=metavar, choices=choices or None
    )
    files = {"FILE": shtab.FILE, "DIRECTORY": shtab.DIRECTORY}
    if metavar in files:
        action.complete = files[metavar]  # type: ignore[attr-defined]


def _choices(option: Option) -> tuple[str, ...]:
    if isinstance(option.parse, Choice):
        return option.parse.words
    return FAMILIES if option.flag == "model" else ()


def _brief(text: str) -> str:
    """The beginning of a help text, as shells show it beside a flag."""
    # shtab escapes these two characters for zsh, which then shows the escapes, too.
    plain = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace("`", "")
    return _END.split(plain, maxsplit=1)[0]


def man_page() -> str:
    """The page for ``man ccproxy``, in the macros of man(7)."""
    return "\n".join([*_man_lines(tree()), ""])


def _man_lines(commands: CommandTree) -> Iterator[str]:
    yield '.\\" Made by `python -m tests.support.reference` from the options.'
    yield '.TH CCPROXY 1 "" ccproxy "User Commands"'
    yield ".SH NAME"
    yield _text(
        "ccproxy - the model behind Claude Code, as an OpenAI- and "
        "Anthropic-compatible API on localhost"
    )
    yield ".SH SYNOPSIS"
    for number, line in enumerate(commands.options.getSynopsis().splitlines()):
        if number:
            yield ".br"
        yield _text(line.removeprefix("Usage:").strip())
    yield ".SH DESCRIPTION"
    yield _text(commands.options.about)
    yield ".SH OPTIONS"
    yield _text(VALUES)
    for title, entries in groups_of(OPTIONS).items():
        yield f".SS {_text(title)}"
        yield from _entries(entries)
    yield ".SS Other options"
    yield from _entries(commands.options.own_entries())
    yield ".SH COMMANDS"
    yield from _commands(commands)
    yield ".SH EXIT STATUS"
    for status, about in (
        ("0", "The command succeeded."),
        ("1", "The command failed."),
        ("2", "The command line or a setting is wrong."),
        ("130", "The command was interrupted."),
    ):
        yield from (".TP", status, about)
    yield ".SH SEE ALSO"
    yield from (".BR claude (1),", ".BR twistd (1),", ".BR systemctl (1)")


def _commands(commands: CommandTree) -> Iterator[str]:
    for part in commands.parts.values():
        options = part.options
        yield f".SS {_text(options.program)}"
        yield from (_text(options.about), ".PP")
        yield from _entries(options.own_entries())
        yield from _commands(part)


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from (".TP", f".B {_text(entry.flags)}", _text(entry.text))


def _text(text: str) -> str:
    """A line of text: nothing in it is a request or an escape of troff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\`")
    escaped = escaped.replace("'", "\\(aq").replace('"', "\\(dq").replace("…", "...")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def main() -> None:
    """Write all files."""
    for path, text in {**scripts(), MAN_PAGE: man_page()}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
