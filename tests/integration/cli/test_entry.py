"""Ctrl-C while the program starts: exit status 130, and nothing is printed."""

import signal
import subprocess
import sys

import pytest

# Sends SIGINT to the process itself.
_INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"

_DURING_IMPORTS = f"""
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "ccproxy.cli.command_line":
            {_INTERRUPT}

sys.meta_path.insert(0, Interrupting())
from ccproxy.cli.entry import main
main()
"""
_AFTER_IMPORTS = f"""
import sys
import ccproxy.cli.main

def run():
    {_INTERRUPT}

ccproxy.cli.main.main = run
from ccproxy.cli.entry import main
main()
"""


def _run(script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        (sys.executable, "-c", script),
        capture_output=True,
        check=False,
        timeout=60,
        # The tests themselves may run in the background, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("script", [_DURING_IMPORTS, _AFTER_IMPORTS])
def test_interrupted_at_the_start(script: str) -> None:
    ended = _run(script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_twisted_finds_its_own_handler_to_replace() -> None:
    script = """
import signal
import ccproxy.cli.main

ccproxy.cli.main.main = lambda: print(signal.getsignal(signal.SIGINT))
from ccproxy.cli.entry import main
main()
"""
    assert b"default_int_handler" in _run(script).stdout


def test_ignored_signal_stays_ignored() -> None:
    """A script ignores SIGINT for a program that it starts with ``&``."""
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import ccproxy.cli.main

def run():
    {_INTERRUPT}
    print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)

ccproxy.cli.main.main = run
from ccproxy.cli.entry import main
main()
"""
    assert _run(script).stdout == b"True\n"


def test_package_is_a_program() -> None:
    started = subprocess.run(
        (sys.executable, "-m", "ccproxy", "completion", "bash"),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"complete" in started.stdout
