"""One CLI process, as the operating system sees it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from ccproxy.claude.process.launch import MARKER, LaunchSpec, exec_prefix
from ccproxy.claude.process.owner import ProcessExit
from ccproxy.claude.process.process import ClaudeProcess
from ccproxy.claude.protocol.codec import WireError
from ccproxy.core.errors import ClaudeUnavailable, Overloaded
from tests.integration.claude.conftest import FakeClaude
from tests.support.waiting import until

_REACTOR: Any = reactor
USER = b'{"type":"user"}\n'


@define(eq=False)
class Owner:
    """Keeps what it is told."""

    lines: list[bytes] = field(factory=list)
    end: ProcessExit | None = None

    def lines_received(self, lines: list[bytes]) -> None:
        self.lines += lines

    def garbage_received(self, error: WireError) -> None:
        raise AssertionError(error)

    def process_ended(self, end: ProcessExit) -> None:
        self.end = end


@define(eq=False)
class Spawned:
    process: ClaudeProcess
    owner: Owner


@pytest.fixture
def spawn(
    fake: Callable[[str], FakeClaude], tmp_path: Path
) -> Iterator[Callable[..., Spawned]]:
    spawned: list[Spawned] = []
    (tmp_path / "cwd").mkdir()

    def start(scenario: str = "answer", **options: Any) -> Spawned:
        cwd = tmp_path / "cwd"
        launch = LaunchSpec(
            **{
                "binary": fake(scenario).binary,
                "prefix": exec_prefix(cwd, os.environ["PATH"]),
                "cwd": cwd,
                "scratch": tmp_path / "scratch",
                "environment": {"PATH": os.environ["PATH"]},
                "model": "sonnet",
                **options,
            }
        )
        owner = Owner()
        process = ClaudeProcess.spawn(launch, "mark", owner, _REACTOR, _REACTOR)
        spawned.append(Spawned(process, owner))
        return spawned[-1]

    yield start
    for one in spawned:
        pytest_twisted.blockon(one.process.terminate())
        assert one.owner.end is not None


@ensureDeferred
async def test_cli_is_execed_in_place_in_a_session_of_its_own(
    spawn: Callable[..., Spawned], tmp_path: Path
) -> None:
    one = spawn()
    one.process.send(USER)
    await until(lambda: one.owner.lines)
    pid = one.process.pid
    assert pid is not None
    assert os.getpgid(pid) == os.getsid(pid) == pid
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path / "cwd")
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"fake_claude.py" in command
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert f"{MARKER}=mark".encode() in environment


@ensureDeferred
async def test_cli_is_not_forked(
    spawn: Callable[..., Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork of a large server takes ten times as long.

    Source: docs/twisted-notes.md, "Child processes".
    """
    spawned: list[object] = []
    real = os.posix_spawnp

    def posix_spawnp(*arguments: Any, **options: Any) -> int:
        spawned.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(os, "posix_spawnp", posix_spawnp)
    spawn()
    assert len(spawned) == 1


@ensureDeferred
async def test_prefix_of_other_systems_works_too(
    spawn: Callable[..., Spawned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    prefix = exec_prefix(tmp_path / "cwd", os.environ["PATH"])
    monkeypatch.undo()
    assert prefix[0] == "/bin/sh"
    one = spawn(prefix=prefix)
    one.process.send(USER)
    await until(lambda: one.owner.lines)
    assert os.readlink(f"/proc/{one.process.pid}/cwd") == str(tmp_path / "cwd")


@ensureDeferred
async def test_paused_process_stops_and_goes_on(
    spawn: Callable[..., Spawned],
) -> None:
    one = spawn("flood")
    one.process.send(USER)
    await until(lambda: len(one.owner.lines) > 100)
    one.process.pause()
    paused_at = len(one.owner.lines)
    for _ in range(200):
        await deferLater(_REACTOR, 0)
    assert len(one.owner.lines) == paused_at
    one.process.resume()
    await until(lambda: len(one.owner.lines) > paused_at + 1000)


@ensureDeferred
async def test_paused_process_can_be_terminated(spawn: Callable[..., Spawned]) -> None:
    one = spawn("flood")
    one.process.send(USER)
    await until(lambda: len(one.owner.lines) > 100)
    one.process.pause()
    heard = len(one.owner.lines)
    await one.process.terminate()
    assert len(one.owner.lines) == heard
    assert one.owner.end is not None
    assert one.owner.end.signal is not None


@ensureDeferred
async def test_each_waiter_is_told_and_one_may_give_up(
    spawn: Callable[..., Spawned],
) -> None:
    one = spawn()
    first, second = one.process.terminate(), one.process.terminate()
    first.addErrback(lambda _: None)
    first.cancel()
    await second
    await one.process.terminate()


@ensureDeferred
async def test_killed_process_leaves_no_files_of_the_cli(
    spawn: Callable[..., Spawned], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    sessions = home / ".claude" / "sessions"
    sessions.mkdir(parents=True)
    one = spawn(environment={"PATH": os.environ["PATH"], "HOME": str(home)})
    pid = one.process.pid
    ours = [sessions / f"{pid}.json", sessions / f"{pid}.ab.key"]
    others = [sessions / "1.json", sessions / f"{pid}1.json"]
    for path in (*ours, *others):
        path.touch()
    one.process.kill()
    await one.process.terminate()
    assert [path for path in ours if path.exists()] == []
    assert all(path.exists() for path in others)


@ensureDeferred
async def test_temporary_files_of_the_cli_go_with_it(
    spawn: Callable[..., Spawned], tmp_path: Path
) -> None:
    one = spawn()
    one.process.send(USER)
    await until(lambda: one.owner.lines)
    environment = Path(f"/proc/{one.process.pid}/environ").read_bytes().split(b"\0")
    [folder] = (tmp_path / "scratch").iterdir()
    assert f"TMPDIR={folder}".encode() in environment
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "left").mkdir()
    (folder / "left" / "behind").touch()
    await one.process.terminate()
    assert list((tmp_path / "scratch").iterdir()) == []


@ensureDeferred
async def test_children_in_the_clis_group_die_with_it(
    spawn: Callable[..., Spawned],
) -> None:
    """Whether or not the operator allows tools: the CLI has helpers of its own."""
    one = spawn("child")
    one.process.send(USER)
    await until(lambda: one.owner.lines)
    await one.process.terminate()
    # Its pipes were held by the child: that they are closed says that it is gone.
    assert one.owner.end is not None
    pid = one.process.pid
    assert pid not in {_group(entry) for entry in Path("/proc").glob("[0-9]*/stat")}


def _group(stat: Path) -> int | None:
    """The group of a process that lives; init may take its time with the dead."""
    try:
        state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(group)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "no env"), ClaudeUnavailable),
        (BlockingIOError(11, "Resource temporarily unavailable"), Overloaded),
        (OSError(24, "Too many open files"), Overloaded),
    ],
)
def test_process_that_cannot_be_started(
    fake: Callable[[str], FakeClaude],
    tmp_path: Path,
    error: OSError,
    kind: type[Exception],
) -> None:
    class Spawner:
        def spawnProcess(self, *args: object, **options: object) -> None:
            raise error

    launch = LaunchSpec(
        binary=fake("answer").binary,
        prefix=(),
        cwd=tmp_path,
        scratch=tmp_path,
        environment={},
        model="sonnet",
    )
    spawner: Any = Spawner()
    with pytest.raises(kind):
        ClaudeProcess.spawn(launch, "mark", Owner(), spawner, _REACTOR)


def test_exit_is_told_in_words() -> None:
    end = ProcessExit(code=None, signal=9, stderr="one\n\nlast words \n", rest=b"{")
    assert str(end) == (
        "signal SIGKILL, in the middle of a line of 1 bytes; stderr ends with: last "
        "words"
    )
    # The log of errors may quote a request.
    logged = "last words\n2026-11-28T18:07:49.862Z [ERROR] Error in API request: x"
    end = ProcessExit(code=1, signal=None, stderr=logged, rest=b"")
    assert str(end) == "exit status 1; stderr ends with: last words"
    assert str(ProcessExit(code=0, signal=None, stderr="", rest=b"")) == "exit status 0"
