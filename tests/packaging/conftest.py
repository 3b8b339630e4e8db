"""Starts servers in processes of their own, and stops them after the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.packaging.commands import Running, environment


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
