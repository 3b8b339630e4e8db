"""The end of a server: orderly, at once, or by force; each in its own process."""

import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from ccproxy.claude.process.runtime_dir import RuntimeDirectory
from tests.integration.claude.conftest import FakeClaude
from tests.integration.claude.conftest import fake as fake  # a fixture
from tests.packaging.commands import CCPROXY, Running
from tests.support.children import processes_of
from tests.support.raw import RawClient, connect, request
from tests.support.server import chat_body
from tests.support.waiting import until

Start = Callable[..., Running]
Fake = Callable[[str], FakeClaude]


def begin(start: Start, claude: FakeClaude, place: Path, *flags: str) -> Running:
    return start(
        CCPROXY,
        # The scripted CLI supports native mode only.
        *("-p", "0", "--compose", "native", *flags),
        PROXY_API_KEY="k",
        CLAUDE_BIN=str(claude.binary),
        TMPDIR=str(place),
    )


async def ask(server: Running) -> RawClient:
    url = await server.url()
    client: RawClient = await connect(reactor, int(url.rpartition(":")[2]))
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(request("POST", "/chat/completions", body, authorization="Bearer k"))
    return client


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where servers have their folders."""
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.mark.parametrize(
    ("first", "second"),
    [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT"), ("HUP", "HUP")],
)
@ensureDeferred
async def test_second_signal_ends_it_now(
    start: Start, fake: Fake, place: Path, first: str, second: str
) -> None:
    """The CLI ignores SIGTERM, and the answer would be waited for for ten minutes."""
    claude = fake("stubborn")
    server = begin(start, claude, place, "--drain-timeout", "600")
    client = await ask(server)
    await client.expect(b"half ")
    server.signal(first)
    await until(lambda: "shutting down" in server.output)
    # It drains: a client is turned away, and the answer is left to come.
    assert b"error" not in client.received
    server.signal(second)
    await until(lambda: server.is_over)
    assert b"being stopped" in await client.lost(), server.output
    assert processes_of(claude.log) == []
    assert list(place.iterdir()) == []
    assert "ReactorNotRunning" not in server.output
    assert "Traceback" not in server.output


@ensureDeferred
async def test_killed_servers_clis_and_folder_go(
    start: Start, fake: Fake, place: Path
) -> None:
    """Also those only just started; one that was stopped goes with the next start."""
    claude = fake("falls-silent")
    server = begin(start, claude, place, "--spares", "2", "--max-processes", "6")
    clients = [await ask(server), await ask(server)]
    for client in clients:
        await client.expect(b"half ")
    stopped = processes_of(claude.log)[0]
    os.kill(stopped, signal.SIGSTOP)
    clients.append(await ask(server))
    server.signal("KILL")
    await until(lambda: server.is_over)
    for client in clients:
        await client.lost()
    await until(lambda: processes_of(claude.log) in ([stopped], []))
    [folder] = place.iterdir()
    await begin(start, claude, place).url()
    await until(lambda: stopped not in processes_of(claude.log))
    assert not folder.exists()


def test_only_what_is_ours_and_nobodys_is_removed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    # Somebody else's; one that is just being made; one that leads elsewhere.
    (place / "ccproxy-other").mkdir()
    (place / "ccproxy-young").mkdir()
    (place / "ccproxy-young" / "owner.new").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "owner").touch()
    (place / "ccproxy-link").symlink_to(elsewhere)
    (place / "ccproxy-dead").mkdir()
    (place / "ccproxy-dead" / "owner").touch()
    # A server was killed while it made them.
    for name in ("empty", "unlocked"):
        (place / f"ccproxy-{name}").mkdir()
    (place / "ccproxy-unlocked" / "owner.new").touch()
    for name in ("empty", "unlocked"):
        os.utime(place / f"ccproxy-{name}", (0, 0))
    first, second = [RuntimeDirectory({"HOME": str(tmp_path)}) for _ in range(2)]
    assert first.path.stat().st_mode & 0o777 == 0o700
    left = {"ccproxy-other", "ccproxy-young", "ccproxy-link"}
    both = {first.path.name, second.path.name}
    assert {entry.name for entry in place.iterdir()} == left | both
    assert (elsewhere / "owner").exists()
    first.remove()
    second.remove()
    assert {entry.name for entry in place.iterdir()} == left


def test_files_of_killed_clis_are_removed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    living = RuntimeDirectory({})
    dead = place / "ccproxy-dead"
    own_home = dead / "home"
    sockets = tmp_path / "cc-socks"
    sockets.mkdir()
    for home, pid, cwd in (
        (tmp_path, 101, dead / "cwd"),
        (own_home, 102, dead / "cwd"),
        (tmp_path, 103, living.path / "cwd"),
        (tmp_path, 104, tmp_path),
    ):
        sessions = home / ".claude" / "sessions"
        sessions.mkdir(parents=True, exist_ok=True)
        socket = sockets / f"{pid}.sock"
        socket.touch()
        entry = {"cwd": str(cwd), "messagingSocketPath": str(socket)}
        (sessions / f"{pid}.json").write_text(json.dumps(entry))
        (sessions / f"{pid}.a.key").touch()
    (tmp_path / ".claude" / "sessions" / "105.json").write_text("{")
    (dead / "owner").touch()
    other = RuntimeDirectory({"HOME": str(tmp_path)})
    left = {path.name for path in tmp_path.rglob("*.*") if path.name[0] == "1"}
    kept = {f"{pid}{end}" for pid in (103, 104) for end in (".json", ".a.key", ".sock")}
    assert left == {*kept, "105.json"}
    for directory in (living, other):
        directory.remove()
