"""One server for all tests that are content with the default settings.

Each start of a server is also the start of a CLI, which takes a second of a processor;
the CLIs of this one stay from test to test, as they do from client to client. It is
gone when these tests are over: others know nothing of its timers.

A module whose ``SHARED`` names settings has a second one with them, for all its tests
that ask for just these. Any other server is a test's own. It has no spare CLI unless
the test asks for one, and takes from the servers before it what they found out about
the binary.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.conftest import Kept
from tests.support.server import RunningProxy, Upstream, start_proxy, start_upstream

_REACTOR: Any = reactor

Shared = tuple[RunningProxy, Upstream]


@pytest.fixture(scope="package")
def probe_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers keep what they have found out about the binary."""
    return tmp_path_factory.mktemp("probe_results")


@pytest.fixture(scope="package", autouse=True)
def shared(
    running_reactor: None,
    claude: Path,
    probe_results: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shared]:
    """The server and its upstream, which are there before a test looks for leaks."""
    upstream = start_upstream(_REACTOR)
    home = tmp_path_factory.mktemp("home")
    server = start_proxy(
        _REACTOR, upstream, home, claude_bin=claude, probe_results=probe_results
    )
    pytest_twisted.blockon(Deferred.fromCoroutine(server.ready()))
    yield server, upstream
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))
    pytest_twisted.blockon(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture(scope="module")
def modules_own(
    request: pytest.FixtureRequest,
    shared: Shared,
    claude: Path,
    probe_results: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningProxy | None]:
    """The server with the settings that the module names."""
    options = getattr(request.module, "SHARED", None)
    if options is None:
        yield None
        return
    _, upstream = shared
    home = tmp_path_factory.mktemp("home")
    server = start_proxy(
        _REACTOR,
        upstream,
        home,
        claude_bin=claude,
        probe_results=probe_results,
        **options,
    )
    pytest_twisted.blockon(Deferred.fromCoroutine(server.ready()))
    yield server
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


@pytest.fixture(scope="module")
def kept(shared: Shared, modules_own: RunningProxy | None) -> Callable[[], Kept]:
    """The CLIs of the shared servers, which wait for the next test's questions."""
    servers = [shared[0], *([] if modules_own is None else [modules_own])]

    def tell() -> Kept:
        children = [child for s in servers for child in (*s.clis, *s.helpers)]
        pipes = [pipe for child in children for pipe in child.pipes.values()]
        names = [os.readlink(f"/proc/self/fd/{pipe.fileno()}") for pipe in pipes]
        pids = [child.pid for child in children]
        timers: Sequence[Any] = [timer for s in servers for timer in s.timers]
        return Kept(timers, pipes, pids, names)

    return tell


@pytest.fixture
def upstream(shared: Shared) -> Upstream:
    """A recording Messages API on loopback, as good as new."""
    _, upstream = shared
    upstream.reset()
    return upstream


@pytest.fixture
def proxy(
    request: pytest.FixtureRequest,
    shared: Shared,
    modules_own: RunningProxy | None,
    claude: Path,
    upstream: Upstream,
    probe_results: Path,
    tmp_path: Path,
) -> Iterator[Callable[..., RunningProxy]]:
    """Gives a shared server, or starts one of the test's own.

    That has to be asked for: by any settings that are not the module's, or by
    ``fresh=True``.
    """
    running: list[RunningProxy] = []
    server, _ = shared

    def start(*, fresh: bool = False, **options: Any) -> RunningProxy:
        if not fresh and not options:
            return server
        if not fresh and modules_own and options == request.module.SHARED:
            return modules_own
        own = {"claude_bin": claude, "spares": 0, **options}
        running.append(
            start_proxy(
                _REACTOR, upstream, tmp_path, probe_results=probe_results, **own
            )
        )
        return running[-1]

    yield start
    for own in running:
        pytest_twisted.blockon(Deferred.fromCoroutine(own.stop()))
    for each in (server, modules_own):
        if each is not None:
            pytest_twisted.blockon(Deferred.fromCoroutine(each.settled()))
    # A process that was killed may have asked once more, faster than the signal.
    pytest_twisted.blockon(Deferred.fromCoroutine(upstream.caught_up()))
