"""Declares options: attrs fields with flag, variable, help and parser as metadata.

A settings class declares each option by calling `option`. The flags, ``--help``, the
table in docs/settings.md and the values read from the environment all come from that
declaration. By default, the names come from the field's name: the field
``idle_timeout`` has the flag ``--idle-timeout`` and the variable
``CCPROXY_IDLE_TIMEOUT``.
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
        parse: converts the text to the value; raises ValueError with the reason. None:
            the option's own parser.
    """

    flag: str = ""
    variable: str = ""
    parse: Callable[[str], Any] | None = None


@frozen(kw_only=True)
class Option:
    """One option: a field of a settings class as the operator sets it.

    Attributes:
        group: the heading of ``--help`` under which the option is shown.
        help: one line that is clear without the lines around it.
        parse: converts the text to the value; raises ValueError with the reason.
        name: the field's name.
        flag: the long flag, without dashes.
        variable: the environment variable.
        default: the default as the operator would write it; empty: there is none.
        default_text: describes a default that is not a fixed value.
        metavar: the name of the value in ``--help``; empty: the option is a switch.
        letter: the short flag.
        repeatable: whether the flag may be given several times; in the variable, commas
            separate the values.
        is_secret: whether the value is secret, so that it is not printed.
        is_hidden: whether the option is not shown; old command lines may have it.
        old: former flags and variables, which are accepted but not shown.
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
        unset: the field's value if the option is not given and has no ``default``.
        about: the attributes of `Option`, except ``name``.
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
    """The metadata of a field without a default; ``about`` is as for `option`."""
    return {_KEY: Option(**about)}


def options_of(settings: type) -> Sequence[Option]:
    """The options of a settings class, sorted by group.

    Within a group, the class's own options come before the inherited options.
    """
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
