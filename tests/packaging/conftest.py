"""Runs commands: in this process, or servers in processes of their own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture
from tests.packaging.commands import Running, environment

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Runs a command that exits without a reactor, in this process.

    What is run is the function that the installed program of that name calls. A process
    of its own would take a second of processor time to import everything.
    """
    [*scripts] = entry_points(group="console_scripts")

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        variables = environment(tmp_path, **variables)
        for name in os.environ.keys() - variables.keys():
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", list(command))
        [program] = {s.value: s for s in scripts if s.name == command[0]}.values()
        with pytest.raises(SystemExit) as caught:
            program.load()()
        out, err = capsys.readouterr()
        status = caught.value.code
        assert isinstance(status, int)
        return subprocess.CompletedProcess(command, status, out, err)

    return run


@pytest.fixture
def claude_bin(fake: Callable[[str], FakeClaude]) -> str:
    """A scripted CLI, for a server that is asked nothing: it starts sooner."""
    return str(fake("answer").binary)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []
    typed: Any = reactor

    def begin(
        *command: str,
        child_descriptors: dict[int, str | int] | None = None,
        **variables: str,
    ) -> Running:
        protocol = Running()
        env = environment(tmp_path, **variables)
        arguments = [part.encode() for part in command]
        typed.spawnProcess(
            protocol,
            command[0],
            arguments,
            env=env,
            path=str(tmp_path),
            childFDs=child_descriptors,
        )
        running.append(protocol)
        return protocol

    yield begin
    for protocol in running:
        pytest_twisted.blockon(Deferred.fromCoroutine(protocol.stop()))
