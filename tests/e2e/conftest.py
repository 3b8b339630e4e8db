"""One server for all tests that are content with the default settings.

Each start of a server is also the start of a CLI, which takes a second of a processor;
the CLIs of this one stay from test to test, as they do from client to client. It is
gone when these tests are over: others know nothing of its timers.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.conftest import Kept
from tests.support.server import RunningProxy, Upstream, start_proxy, start_upstream

_REACTOR: Any = reactor


@pytest.fixture(scope="package", autouse=True)
def shared(
    running_reactor: None, claude: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningProxy, Upstream]]:
    """The server and its upstream, which are there before a test looks for leaks."""
    upstream = start_upstream(_REACTOR)
    home = tmp_path_factory.mktemp("home")
    server = start_proxy(_REACTOR, upstream, home, claude_bin=claude)
    pytest_twisted.blockon(Deferred.fromCoroutine(server.ready()))
    yield server, upstream
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))
    pytest_twisted.blockon(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture(scope="package")
def kept(shared: tuple[RunningProxy, Upstream]) -> Callable[[], Kept]:
    """The CLIs of the shared server, which wait for the next test's questions."""
    server, _ = shared

    def tell() -> Kept:
        children = [*server.clis, *server.helpers]
        pipes = [pipe for child in children for pipe in child.pipes.values()]
        names = [os.readlink(f"/proc/self/fd/{pipe.fileno()}") for pipe in pipes]
        pids = [child.pid for child in children]
        return Kept(server.timers, pipes, pids, names)

    return tell


@pytest.fixture
def upstream(shared: tuple[RunningProxy, Upstream]) -> Upstream:
    """A recording Messages API on loopback, as good as new."""
    _, upstream = shared
    upstream.reset()
    return upstream


@pytest.fixture
def proxy(
    shared: tuple[RunningProxy, Upstream],
    claude: Path,
    upstream: Upstream,
    tmp_path: Path,
) -> Iterator[Callable[..., RunningProxy]]:
    """Gives the shared server, or starts one of the test's own.

    That has to be asked for: by any setting, or by ``fresh=True``.
    """
    running: list[RunningProxy] = []
    server, _ = shared

    def start(*, fresh: bool = False, **options: Any) -> RunningProxy:
        if not fresh and not options:
            return server
        options.setdefault("claude_bin", claude)
        own = start_proxy(_REACTOR, upstream, tmp_path, **options)
        running.append(own)
        return own

    yield start
    for own in running:
        pytest_twisted.blockon(Deferred.fromCoroutine(own.stop()))
    pytest_twisted.blockon(Deferred.fromCoroutine(server.settled()))
    # A process that was killed may have asked once more, faster than the signal.
    pytest_twisted.blockon(Deferred.fromCoroutine(upstream.caught_up()))
