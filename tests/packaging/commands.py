"""Runs the installed commands, and servers in processes of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from tests.support.raw import connect, request
from tests.support.waiting import until

BIN = Path(sys.executable).parent
CCPROXY = str(BIN / "ccproxy")
TWISTD = str(BIN / "twistd")


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **more}


def run(
    *command: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=env or environment(cwd),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Running(ProcessProtocol):
    """A server in a process of its own."""

    transport: Any

    def __init__(self) -> None:
        self.output = ""
        self.status: int | None = None
        self.is_over = False

    @override
    def outReceived(self, data: bytes) -> None:
        self.output += data.decode()

    errReceived = outReceived

    @override
    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        self.status = status.exitCode
        self.is_over = True

    async def url(self, log: Callable[[], str] | None = None) -> str:
        """Where it listens, as its log says; by default what it writes."""

        def found() -> re.Match[str] | None:
            with suppress(FileNotFoundError):
                return re.search(r"listens on (\S+)/v1;", log() if log else self.output)
            return None

        await until(lambda: found() or self.is_over)
        match = found()
        assert match, self.output
        return match[1]

    def signal(self, name: str) -> None:
        self.transport.signalProcess(name)

    async def stop(self) -> None:
        if not self.is_over:
            with suppress(ProcessExitedAlready):
                self.signal("TERM")
            await until(lambda: self.is_over)


async def get(url: str, path: str, **headers: str) -> bytes:
    client = await connect(reactor, int(url.rpartition(":")[2]))
    client.send(request("GET", path, connection="close", **headers))
    return await client.lost()
