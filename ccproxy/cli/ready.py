"""The command ``ccproxy ready``: asks a running server whether it is ready.

The health check of a container needs no shell and no HTTP client besides this command.

=====  ==================================================================
0      the server is ready
1      the server is not ready, refuses the key, or does not answer
2      the command line or a setting is wrong; nothing was asked
=====  ==================================================================
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from ccproxy.cli.command_line import CommandOptions, ExitStatus, fail
from ccproxy.cli.readiness import address_of, ask


class ReadyOptions(CommandOptions):
    """The command line of ``ccproxy ready``."""

    program = "ccproxy ready"
    about = (
        "Sends GET /ready to a running server, and prints the message of the answer. "
        "Pass the server's --port or --listen, and its key. Exit status: 0: the server "
        "is ready; 1: the server is not ready, refuses the key, or does not answer; 2: "
        "the command line or a setting is wrong."
    )
    shows_settings = False

    @override
    def getSynopsis(self) -> str:
        return "Usage: ccproxy ready [the server's options]"


def run_ready(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy ready`` with these arguments, and exit."""
    options = ReadyOptions()
    options.parseOptions(arguments)
    settings = options.settings
    try:
        address = address_of(settings.endpoints[0])
    except ValueError as error:
        options.refuse(str(error))
    answer = ask(address, settings.api_keys[0])
    if not answer.is_ready:
        fail(options.program, answer.message, ExitStatus.FAILED)
    print(answer.message)
    sys.exit(0)
