"""Fixtures for all tests, and the check that no test leaves anything behind."""

import gc
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from hypothesis import HealthCheck, settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import provider

from tests.support.server import RunningProxy, Upstream, start_proxy, start_upstream

# Machines that run several suites at once are slow now and then; no property is about
# time. A run tries what the run before has tried, so that a failure is of a change;
# whoever asks for more examples gets others each time.
settings.register_profile(
    "suite",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.keys().isdisjoint({"CCPROXY_FUZZ", "CCPROXY_BODIES"}),
)
settings.load_profile("suite")

_REACTOR: Any = reactor
# How often the reactor may turn until what a test ended has ended.
_TURNS = 200


_block_on = pytest_twisted.blockon_default


def _block_on_in_a_turn_of_its_own(waited: "Deferred[Any]") -> Any:
    """Wait as pytest-twisted does, but change greenlets in an otherwise empty turn.

    No code of the project is then on the stack of the reactor's greenlet. A tracer that
    knows threads only would lose its place there, and one that knows greenlets, too,
    takes coverage half as much time again.
    """
    turn: Deferred[Any] = Deferred()
    waited.addBoth(lambda result: _REACTOR.callLater(0, turn.callback, result))
    return _block_on(turn)


pytest_twisted.blockon_default = _block_on_in_a_turn_of_its_own


class ExpectedErrors:
    """Errors in the log that a test expects; other errors fail the test."""

    def __init__(self) -> None:
        self.allowed: list[str] = []

    def allow(self, text: str) -> None:
        """Allow log lines of level warn and above that contain a text."""
        self.allowed.append(text)


@pytest.fixture
def expected_errors() -> ExpectedErrors:
    return ExpectedErrors()


@pytest.fixture
def request_lines() -> Iterator[list[str]]:
    """The log's lines of the requests that have ended."""
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "ccproxy.web.context":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def _children() -> set[int]:
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return {int(pid) for pid in path.read_text().split()} if path.exists() else set()


def _descriptors() -> set[str]:
    folder = Path("/proc/self/fd")
    found = set()
    for entry in folder.iterdir() if folder.exists() else ():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith(("socket:", "pipe:")):
            found.add(target)
    return found


@pytest.fixture(scope="session", autouse=True)
def running_reactor() -> None:
    """Start the reactor, so that its own descriptors do not count as leaks."""
    pytest_twisted.blockon(deferLater(_REACTOR, 0))


@pytest.fixture(scope="module", autouse=True)
def old_objects() -> None:
    """Exclude older objects from the garbage collection after each test.

    To visit all imported objects would take 0.1 s each time.
    """
    gc.collect()
    gc.freeze()


@define
class Kept:
    """Timers, sockets and processes of a server that outlives the test."""

    calls: Sequence[Any] = ()
    readers: Sequence[Any] = ()
    children: Collection[int] = ()
    descriptors: Collection[str] = ()


@pytest.fixture(scope="session")
def kept() -> Callable[[], Kept]:
    """Resources that a test may create without a leak."""
    return Kept


@pytest.fixture(autouse=True)
def nothing_left_behind(
    request: pytest.FixtureRequest,
    running_reactor: None,
    kept: Callable[[], Kept],
    expected_errors: ExpectedErrors,
) -> Iterator[None]:
    """Fail a test that leaves timers, sockets, processes or logged errors."""
    problems: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        level = event.get("log_level")
        if level is not None and level >= LogLevel.warn:
            text = eventAsText(event, includeTimestamp=False)
            if not any(allowed in text for allowed in expected_errors.allowed):
                problems.append(text)

    threads = request.node.get_closest_marker("threads") is not None
    globalLogPublisher.addObserver(observe)
    # What was there may call itself again, as the clock of an HTTP server does.
    calls = [call.func for call in _REACTOR.getDelayedCalls()]
    readers = set(_REACTOR.getReaders())
    children, descriptors = _children(), _descriptors()
    yield
    gc.collect()

    def left() -> list[str]:
        own = kept()
        found = [
            str(call)
            for call in _REACTOR.getDelayedCalls()
            if call.func not in calls and call not in own.calls
        ]
        found += [
            str(reader)
            for reader in _REACTOR.getReaders()
            if reader not in readers and reader not in own.readers
        ]
        found += [f"child {pid}" for pid in _children() - children - {*own.children}]
        if not threads:
            names = _descriptors() - descriptors - {*own.descriptors}
            found += [f"open {name}" for name in names]
        return found

    async def settle() -> list[str]:
        found: list[str] = []
        for turn in range(_TURNS):
            # Most things end within the first turns; a child needs some time.
            await deferLater(_REACTOR, 0 if turn < 20 else 0.02)
            found = [f for f in left() if "deferLater" not in f]
            if not found:
                break
        return found

    found = left()
    if found:
        # Not looked for again afterwards: a shared server may begin something new.
        found = pytest_twisted.blockon(Deferred.fromCoroutine(settle()))
    globalLogPublisher.removeObserver(observe)
    assert found == []
    assert problems == []


@pytest.fixture(scope="session")
def claude() -> Path:
    """The path of the real CLI, from the wheel of the extra ``claude``.

    ``CCPROXY_TEST_CLAUDE`` names another CLI.
    """
    from ccproxy.claude.process.binary import find_claude

    named = os.environ.get("CCPROXY_TEST_CLAUDE")
    return find_claude(Path(named) if named else None, "")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A recording Messages API on loopback."""
    # What goes up by the old way is not always what the provider takes.
    api = start_upstream(_REACTOR, strict=False)
    yield api
    pytest_twisted.blockon(Deferred.fromCoroutine(api.stop()))


@pytest.fixture
def proxy(
    claude: Path, upstream: Upstream, tmp_path: Path
) -> Iterator[Callable[..., RunningProxy]]:
    """Starts servers with the real CLI, or with another one."""
    running: list[RunningProxy] = []

    def start(**options: Any) -> RunningProxy:
        options.setdefault("claude_bin", claude)
        server = start_proxy(_REACTOR, upstream, tmp_path, **options)
        running.append(server)
        return server

    yield start
    for server in running:
        pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Do not let Python wait for a thread that a failed test has left."""
    if exitstatus != pytest.ExitCode.OK:
        session.config.add_cleanup(lambda: _leave(exitstatus))


def _leave(status: int) -> None:
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
