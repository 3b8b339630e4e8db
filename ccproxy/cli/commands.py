"""The commands of the program ``ccproxy``.

`load` imports only the module of the command that is run, because imports take most of
the time of a short command. Health checks run `ccproxy ready` twice a minute, so that
command must not load the server.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn

# Runs a command with its arguments, and exits.
RunFunction = Callable[[Sequence[str]], NoReturn]


def load(arguments: Sequence[str]) -> Callable[[], None]:
    """Import the command that a command line names, or else the server.

    Args:
        arguments: `sys.argv`.

    Returns:
        The function that runs the command.
    """
    importer = COMMANDS.get(arguments[1]) if len(arguments) > 1 else None
    if importer is not None:
        return partial(importer(), arguments[2:])
    from ccproxy.cli.main import main

    return main


def _completion() -> RunFunction:
    from ccproxy.cli.completion.command import run_completion

    return run_completion


def _conformance() -> RunFunction:
    from ccproxy.cli.conformance.command import run_conformance

    return run_conformance


def _doctor() -> RunFunction:
    from ccproxy.cli.doctor.command import run_doctor

    return run_doctor


def _ready() -> RunFunction:
    from ccproxy.cli.ready import run_ready

    return run_ready


def _service() -> RunFunction:
    from ccproxy.cli.service.command import run_service

    return run_service


def _usage() -> RunFunction:
    from ccproxy.cli.usage.command import run_usage

    return run_usage


# Each value imports the function that runs the command.
COMMANDS: Mapping[str, Callable[[], RunFunction]] = {
    "completion": _completion,
    "conformance": _conformance,
    "doctor": _doctor,
    "ready": _ready,
    "service": _service,
    "usage": _usage,
}
