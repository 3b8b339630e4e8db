"""One server for all tests with the default settings.

Each start of a server also starts a CLI, which takes a second of processor time. The
CLIs of the shared server stay from test to test. The server is stopped after the last
of these tests, so that other tests do not meet its timers.

A module with a variable ``SHARED`` has a second server with these settings, for its
tests that ask for exactly them. A test with other settings starts a server of its own,
which has no spare CLI unless the test asks for one. All servers share their probe
results of the binary.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.conftest import ExpectedErrors, Kept
from tests.support.server import RunningProxy, Upstream, start_proxy, start_upstream

_REACTOR: Any = reactor

Shared = tuple[RunningProxy, Upstream]

# An older CLI means older models by the same names. The tests are about these models.
_MODELS = {
    "haiku": "claude-haiku-5-5",
    "sonnet": "claude-sonnet-5-5",
    "opus": "claude-opus-5-5",
}
_NAMED = tuple(
    pair for name, full in _MODELS.items() for pair in ((name, full), (full, full))
)


def of_today(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which an older CLI is asked for today's models."""
    if "CCPROXY_TEST_CLAUDE" not in os.environ:
        return dict(options)
    named = (*options.get("model_map", ()), *_NAMED)
    return {"model": _MODELS["sonnet"], **options, "model_map": named}


@pytest.fixture(scope="package")
def probe_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the servers share their probe results of the binary."""
    return tmp_path_factory.mktemp("probe_results")


@pytest.fixture(scope="package", autouse=True)
def shared(
    running_reactor: None,
    claude: Path,
    probe_results: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shared]:
    """The shared server and its upstream, started before a test looks for leaks."""
    upstream = start_upstream(_REACTOR)
    home = tmp_path_factory.mktemp("home")
    server = start_proxy(
        _REACTOR,
        upstream,
        home,
        claude_bin=claude,
        probe_results=probe_results,
        **of_today({}),
    )
    pytest_twisted.blockon(Deferred.fromCoroutine(server.examined()))
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
    """The server with the module's ``SHARED`` settings."""
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
        **of_today(options),
    )
    pytest_twisted.blockon(Deferred.fromCoroutine(server.examined()))
    yield server
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


@pytest.fixture(scope="module")
def kept(shared: Shared, modules_own: RunningProxy | None) -> Callable[[], Kept]:
    """The CLIs of the shared servers, which are no leak."""
    servers = [shared[0], *([] if modules_own is None else [modules_own])]

    def tell() -> Kept:
        children = [child for s in servers for child in (*s.clis, *s.helpers)]
        pipes = [pipe for child in children for pipe in child.pipes.values()]
        names = [os.readlink(f"/proc/self/fd/{pipe.fileno()}") for pipe in pipes]
        pids = [child.pid for child in children]
        timers: Sequence[Any] = [timer for s in servers for timer in s.timers]
        return Kept(timers, pipes, pids, names)

    return tell


@pytest.fixture(autouse=True)
def busy_machine(expected_errors: ExpectedErrors) -> None:
    """A spare may need more than its three seconds; a request starts another."""
    for why in ("it ended by itself", "the claude CLI does not end its turn"):
        expected_errors.allow(f"no claude CLI can be kept ready ({why})")


@pytest.fixture
def upstream(shared: Shared) -> Upstream:
    """A recording Messages API on loopback, reset for the test."""
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
    """Returns a shared server, or starts a server for the test alone.

    It starts one for settings that differ from the module's, and for ``fresh=True``.
    """
    running: list[RunningProxy] = []
    server, _ = shared

    def start(*, fresh: bool = False, **options: Any) -> RunningProxy:
        if not fresh and not options:
            return server
        if not fresh and modules_own and options == request.module.SHARED:
            return modules_own
        own = {"claude_bin": claude, "spares": 0, **of_today(options)}
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
