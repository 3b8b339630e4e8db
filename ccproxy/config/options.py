"""An option is one attrs field; its metadata has its flag, variable, help and parser.

A settings class declares an option by `option`. The flags, ``--help``, the table in
docs/settings.md and the values read from the environment all come from that
declaration. The names follow from the field's: ``idle_timeout`` is the flag
``--idle-timeout`` and the variable ``CCPROXY_IDLE_TIMEOUT``, unless the declaration
says otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import attrs
from attrs import evolve, frozen

_KEY = "option"


class Group(Enum):
    """A heading of ``--help``, in the order in which the groups are shown."""

    SERVER = "Server"
    ACCESS = "Access"
    MODEL = "Model"
    PROCESSES = "Claude Code processes"
    LIMITS = "Limits"
    DATA = "Stored data"
    LOGS = "Logs"
    DEVELOPMENT = "Development"


@frozen(kw_only=True)
class Spelling:
    """A flag and a variable by which an option can be set.

    Attributes:
        flag: the long flag, without dashes; empty: none.
        variable: the environment variable; empty: none.
        parse: from text to the value; raises ValueError with the reason. None: as the
            option does.
    """

    flag: str = ""
    variable: str = ""
    parse: Callable[[str], Any] | None = None


@frozen(kw_only=True)
class Option:
    """What an operator sees of one field.

    Attributes:
        name: the field's name.
        help: one line that is clear without the lines around it.
        parse: from text to the value; raises ValueError with the reason.
        default: as the operator would write it; empty: there is none.
        default_text: describes the default, where no value can.
        metavar: the name of the value in ``--help``; empty: a switch.
        letter: the short flag.
        repeatable: may be given several times; the variable has commas then.
        is_secret: holds a password, and is not printed.
        is_hidden: accepted for old command lines, and not shown.
        old: former flags and variables; accepted, and not shown.
    """

    group: Group
    help: str
    parse: Callable[[str], Any]
    name: str = ""
    flag: str = ""
    variable: str = ""
    default: str = ""
    default_text: str = ""
    metavar: str = ""
    letter: str = ""
    repeatable: bool = False
    is_secret: bool = False
    is_hidden: bool = False
    old: Sequence[Spelling] = ()

    @property
    def spellings(self) -> Sequence[Spelling]:
        """All flags and variables, the current ones first."""
        return (Spelling(flag=self.flag, variable=self.variable), *self.old)


def option(*, unset: Any = None, **about: Any) -> Any:
    """Declare a field that is an option.

    Args:
        unset: the field's value without the option, if there is no ``default``.
        about: the attributes of `Option`, but ``name``.
    """
    declared = Option(**about)
    if declared.default:
        unset = declared.parse(declared.default)
    elif declared.repeatable:
        unset = ()
    elif not declared.metavar:
        unset = False
    return attrs.field(
        default=unset, repr=not declared.is_secret, metadata={_KEY: declared}
    )


def metadata(**about: Any) -> Mapping[str, Option]:
    """The metadata of a field that has no default; see `option`."""
    return {_KEY: Option(**about)}


def options_of(settings: type) -> Sequence[Option]:
    """The options of a settings class by group; in a group the class's own first."""
    options = [
        _named(field.metadata[_KEY], field.name)
        for part in settings.__mro__
        if attrs.has(part)
        for field in attrs.fields(part)
        if _KEY in field.metadata and not field.inherited
    ]
    groups = list(Group)
    return tuple(sorted(options, key=lambda option: groups.index(option.group)))


def _named(declared: Option, name: str) -> Option:
    return evolve(
        declared,
        name=name,
        flag=declared.flag or name.replace("_", "-"),
        variable=declared.variable or f"CCPROXY_{name.upper()}",
    )
