"""The command ``ccproxy completion``, and its exit statuses.

``python -m tests.support.reference`` makes the scripts from the declarations of the
options; a test compares them. The wheel also installs the scripts as data files, in the
directories where shells look for them.

=====  ==================================================================
0      the script was printed
2      the command line is wrong
=====  ==================================================================
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NoReturn

from twisted.python import usage
from typing_extensions import override

from ccproxy.cli.command_line import Command

# The name of each script is the name that the shell looks for.
SCRIPTS: Mapping[str, str] = {
    "bash": "ccproxy.bash",
    "fish": "ccproxy.fish",
    "zsh": "_ccproxy",
}


class CompletionOptions(Command):
    """The command line of ``ccproxy completion``."""

    program = "ccproxy completion"
    about = (
        "Prints a script with which a shell completes the command line of ccproxy. "
        'bash: eval "$(ccproxy completion bash)" in ~/.bashrc; zsh: '
        'eval "$(ccproxy completion zsh)" in ~/.zshrc, after compinit; fish: '
        "ccproxy completion fish | source in ~/.config/fish/config.fish."
    )
    shell = ""

    @override
    def getSynopsis(self) -> str:
        return f"Usage: ccproxy completion {' | '.join(SCRIPTS)}"

    @override
    def parseArgs(self, *args: str) -> None:
        if len(args) != 1 or args[0] not in SCRIPTS:
            raise usage.UsageError(f"name one shell: {', '.join(SCRIPTS)}")
        self.shell = args[0]


def script(shell: str) -> str:
    """The script for a shell of `SCRIPTS`."""
    folder = files("ccproxy.cli.completion") / "scripts"
    return (folder / SCRIPTS[shell]).read_text()


def run_completion(arguments: Sequence[str]) -> NoReturn:
    """Run ``ccproxy completion`` with these arguments, and exit."""
    options = CompletionOptions()
    options.parseOptions(arguments)
    print(script(options.shell), end="")
    sys.exit(0)
