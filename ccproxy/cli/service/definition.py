"""The service as its manager starts it: program, arguments, variables.

Secrets are not arguments, because other local users can see a command line. The API key
is in a file. Other secrets are variables of the service.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from ccproxy.config.options import Option
from ccproxy.config.settings import OPTIONS, Settings, SettingsError

DESCRIPTION = "The model behind Claude Code, as an OpenAI-compatible API"
# Files with this text were written by `ccproxy service install`.
MARK = "Written by `ccproxy service install`"
# CLI processes need time to stop after the last answer.
_STOP_SECONDS = 30
_KEY_FLAGS = ("api-key", "api-key-file")
# A relative path in an endpoint string: the service has another working directory.
_RELATIVE = re.compile(
    r"^unix:(?:address=)?(?!/|address=)"
    r"|:(?:privateKey|certKey|extraCertChain|dhParameters)=(?!/)"
)
# Surrogates stand for bytes that are not UTF-8.
_CONTROL = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")


@frozen
class Places:
    """The files of a service.

    Attributes:
        key: the file with the clients' API keys.
        environment: a file with variables, which the user may write; one per line.
    """

    key: Path
    environment: Path


@frozen
class ServiceDefinition:
    """What the service manager starts.

    Attributes:
        program: the path of the command ``ccproxy``.
        arguments: the server's flags, except those for keys.
        variables: the environment of the service.
        stop_seconds: the time that the server has to stop.
    """

    program: Path
    arguments: Sequence[str]
    variables: Mapping[str, str]
    places: Places
    stop_seconds: int


def define(
    program: Path,
    given: Mapping[str, Sequence[str]],
    settings: Settings,
    places: Places,
    search_path: str,
) -> ServiceDefinition:
    """Make the definition from the flags of ``ccproxy service install``.

    Args:
        program: the path of the command ``ccproxy``.
        given: the values of each flag on the command line.
        settings: the settings that these flags make.
        places: the files of the service.
        search_path: the variable ``PATH`` of the service.

    Raises:
        SettingsError: a value would mean something else in a service, or cannot be
            written into the service's file.
    """
    arguments = []
    variables = {"PATH": search_path}
    for option, flag, text in _texts(given):
        if option.is_secret:
            variables[option.variable] = text
        elif option.metavar:
            arguments.append(f"--{flag}={_absolute(option, flag, text)}")
        else:
            arguments.append(f"--{flag}")
    paths = (str(path) for path in (program, places.key, places.environment))
    for text in (*paths, *arguments, *variables.values()):
        _check_text(text)
    drain_seconds = math.ceil(settings.drain_timeout)
    return ServiceDefinition(
        program=program,
        arguments=tuple(arguments),
        variables=variables,
        places=places,
        stop_seconds=drain_seconds + _STOP_SECONDS,
    )


def _texts(
    given: Mapping[str, Sequence[str]],
) -> Iterator[tuple[Option, str, str]]:
    """Each flag on the command line with its option, except the flags for keys."""
    options = {text.flag: option for option in OPTIONS for text in option.spellings}
    for flag, texts in given.items():
        option = options[flag]
        if flag not in _KEY_FLAGS:
            # Of an option that is not repeatable, the last value counts.
            for text in texts if option.repeatable else texts[-1:]:
                yield option, flag, text


def _absolute(option: Option, flag: str, text: str) -> str:
    """The value, with an absolute path in place of a relative one."""
    if option.parse is Path:
        is_name = option.flag == "claude-bin" and os.sep not in text
        return text if is_name else os.path.abspath(text)
    if option.flag == "listen" and _RELATIVE.search(text):
        raise SettingsError(
            f"--{flag}: a path in {text!r} is relative, but a service has another "
            "working directory; write an absolute path"
        )
    return text


def _check_text(text: str) -> None:
    if _CONTROL.search(text):
        raise SettingsError(
            f"{text!r} has a control character, or is not UTF-8, so it cannot be in "
            "the file of a service"
        )
