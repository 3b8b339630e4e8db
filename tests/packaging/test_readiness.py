"""The messages to a service manager, and the sockets that it passes."""

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from ccproxy.server.systemd import READY, notify
from tests.conftest import ExpectedErrors
from tests.packaging.commands import CCPROXY, Running, get
from tests.support.raw import connect, request
from tests.support.waiting import until


class Manager:
    """Hears what it is told."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self._heard: list[str] = []

    def heard(self) -> list[str]:
        while True:
            try:
                self._heard.append(self._socket.recv(1000).decode())
            except BlockingIOError:
                return self._heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    hears = Manager(str(tmp_path / "notify"))
    yield hears
    hears.close()


@ensureDeferred
async def test_ready_when_it_listens_and_stopping_when_told_to(
    tmp_path: Path, manager: Manager, start: Callable[..., Running], claude_bin: str
) -> None:
    server = start(
        *(CCPROXY, "--demo", "-p", "0"),
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        CLAUDE_BIN=claude_bin,
    )
    await until(lambda: manager.heard() or server.is_over)
    url = await server.url()
    ready = f"READY=1\nSTATUS=listens on {url}/v1"
    assert manager.heard() == [ready]
    # It can be asked at once.
    assert b"\r\n\r\nok" in await get(url, "/health")
    await server.stop()
    stopping = "STOPPING=1\nSTATUS=waits for running answers"
    assert manager.heard() == [ready, stopping, "STATUS=stopped"]


@ensureDeferred
async def test_a_server_that_cannot_listen_says_why_and_is_never_ready(
    tmp_path: Path, manager: Manager, start: Callable[..., Running]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = start(
            CCPROXY, "--demo", "-p", port, NOTIFY_SOCKET=str(tmp_path / "notify")
        )
        await until(lambda: server.is_over)
    [message] = manager.heard()
    assert message.startswith("STATUS=failed: cannot listen on tcp:")


def test_abstract_socket() -> None:
    manager = Manager(f"\0ccproxy-{os.getpid()}")
    assert notify(READY, {"NOTIFY_SOCKET": f"@ccproxy-{os.getpid()}"})
    assert manager.heard() == ["READY=1"]
    manager.close()


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "relative"])
def test_nobody_to_be_told(name: str) -> None:
    assert not notify(READY, {"NOTIFY_SOCKET": name})


def test_a_manager_that_is_gone_is_no_reason_to_fail(
    tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("cannot send READY=1 to the service manager")
    assert not notify(READY, {"NOTIFY_SOCKET": str(tmp_path / "gone")})


# Whoever cannot see where it listens wants a long key.
INHERITED = (
    *("--api-key", "of-sixteen-characters"),
    *("--listen", "systemd:domain=INET:index=0"),
)


def start_with_socket(
    start: Callable[..., Running], listening: socket.socket, claude_bin: str
) -> Running:
    """Start as systemd would: the socket is descriptor 3 of the process itself."""
    script = 'export LISTEN_PID=$$; exec "$@"'
    number = listening.fileno()
    return start(
        *("/bin/sh", "-c", script, "sh", CCPROXY, "--demo", *INHERITED),
        child_descriptors={0: "w", 1: "r", 2: "r", 3: number},
        LISTEN_FDS="1",
        LISTEN_FDNAMES="ccproxy.socket",
        CLAUDE_BIN=claude_bin,
    )


@ensureDeferred
async def test_socket_of_systemds(
    start: Callable[..., Running], claude_bin: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        # Who comes before it waits, and is served.
        early = await connect(reactor, port)
        early.send(request("GET", "/health", connection="close"))
        server = start_with_socket(start, listening, claude_bin)
        assert await server.url() == f"http://127.0.0.1:{port}"
        assert b"\r\n\r\nok" in await early.lost()
        await server.stop()


@ensureDeferred
async def test_socket_that_nobody_hands_over_is_one_line(
    start: Callable[..., Running],
) -> None:
    server = start(CCPROXY, "--demo", *INHERITED)
    await until(lambda: server.is_over)
    assert server.status == 2
    assert server.output.startswith("ccproxy: --listen: 'systemd:domain=INET:index=0'")
    assert server.output.count("\n") == 1


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd"
)
@ensureDeferred
async def test_started_by_its_first_client(
    start: Callable[..., Running], claude_bin: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    program = shutil.which("systemd-socket-activate")
    command = ("-l", f"127.0.0.1:{port}", "--fdname=ccproxy.socket", CCPROXY, "--demo")
    server = start(program, *command, *INHERITED, CLAUDE_BIN=claude_bin)
    await until(lambda: re.search(r"Listening on \S+ as 3", server.output))
    assert b"\r\n\r\nok" in await get(f"http://127.0.0.1:{port}", "/health")
    await server.stop()
