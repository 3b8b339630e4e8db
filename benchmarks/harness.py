"""Parts of all benchmarks: child processes, the server, processor time and memory.

Linux only: processor time and memory are read from ``/proc``.
"""

import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from attrs import frozen

KEY = "benchmark-key"

_POLL_SECONDS = 0.01
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
# Processes that use at most one clock tick in this time are idle.
_QUIET_SECONDS = 0.2
_SETTLE_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)/v1")

# Runs the program `ccproxy` of the first checkout in PYTHONPATH.
_RUN = "from ccproxy.cli.main import main; main()"

_T = TypeVar("_T")


def wait_for(condition: Callable[[], _T | None], what: str, seconds: float) -> _T:
    """Poll until the condition returns a value; raises TimeoutError."""
    end = time.monotonic() + seconds
    while (found := condition()) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        time.sleep(_POLL_SECONDS)
    return found


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary directory, with an empty ``home`` and ``cwd`` in it."""
    with tempfile.TemporaryDirectory(prefix="ccproxy-benchmark-") as name:
        for inner in ("home", "cwd"):
            (Path(name) / inner).mkdir()
        yield Path(name)


@contextmanager
def child(
    argv: Sequence[str | Path], log: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A child process that writes to ``log``; stopped and reaped at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def logged_port(process: "subprocess.Popen[bytes]", log: Path, line: str) -> int:
    """Wait for a child to log its port, which the pattern's group matches."""

    def find() -> int | None:
        text = log.read_text("utf-8", "replace")
        if process.poll() is not None:
            raise RuntimeError(f"the child ended:\n{text}")
        match = re.search(line, text)
        return int(match[1]) if match else None

    return wait_for(find, "port", _START_SECONDS)


@frozen(kw_only=True)
class Server:
    """A running ccproxy."""

    pid: int
    port: int

    def ask(
        self, prompt: "str | Sequence[object]", **fields: object
    ) -> http.client.HTTPConnection:
        """Send a prompt, or a conversation; the caller reads the streamed answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        single = [{"role": "user", "content": prompt}]
        messages = single if isinstance(prompt, str) else prompt
        question = {"messages": messages, "stream": True, **fields}
        headers = {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "connection": "close",
        }
        body = json.dumps(question)
        connection.request("POST", "/v1/chat/completions", body, headers)
        return connection

    def lines(
        self, prompt: "str | Sequence[object]", **fields: object
    ) -> Iterator[bytes]:
        """Ask, and read the response from the socket, with the sizes of its chunks.

        So the time of an HTTP client library is not measured.
        """
        single = [{"role": "user", "content": prompt}]
        messages = single if isinstance(prompt, str) else prompt
        body = json.dumps({"messages": messages, "stream": True, **fields}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), 120) as connection:
            connection.sendall(head.encode() + body)
            with connection.makefile("rb") as answer:
                yield from answer


@contextmanager
def upstream(place: Path, tokens: int) -> Iterator[Mapping[str, str]]:
    """A scripted Messages API; yields the environment for its clients."""
    log = place / "upstream.log"
    path = {"PATH": os.environ["PATH"]}
    argv = [sys.executable, "-m", "benchmarks.upstream", "--tokens", str(tokens)]
    with child(argv, log, path) as process:
        port = logged_port(process, log, r"port (\d+)")
        yield {
            **path,
            "HOME": str(place / "home"),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
            "ANTHROPIC_API_KEY": "dummy",
        }


@contextmanager
def server(
    place: Path,
    claude: Path,
    environment: Mapping[str, str],
    *flags: str,
    checkout: Path | None = None,
) -> Iterator[Server]:
    """Start the whole server as a process, and wait until it is idle.

    Args:
        place: a folder for its log and state.
        claude: the CLI's path.
        environment: of the server.
        flags: of ``ccproxy``.
        checkout: the source tree of the server; None: this tree.
    """
    source = (checkout or Path(__file__).parent.parent).absolute()
    state = place / f"state{len(list(place.glob('server*.log')))}"
    argv: list[str | Path] = [sys.executable, "-P", "-c", program(source)]
    argv += ["--port", "0"]
    argv += ["--claude-bin", claude, "--state-dir", state, *flags]
    log = place / f"server{len(list(place.glob('server*.log')))}.log"
    own = {**environment, "PROXY_API_KEY": KEY, "PYTHONPATH": str(source)}
    with child(argv, log, own) as process:
        port = logged_port(process, log, _LISTENS.pattern)
        settle(process.pid)
        yield Server(pid=process.pid, port=port)


def program(source: Path) -> str:
    """The program `ccproxy` of a checkout, which names its own entry point."""
    with (source / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    module, _, function = scripts["ccproxy"].partition(":")
    return f"from {module} import {function}; {function}()"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 if the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def tree_seconds(pid: int) -> float:
    """Processor time of a process and its descendants, also of those that ended."""
    return sum(cpu_seconds(p) + _waited_seconds(p) for p in processes(pid))


def _waited_seconds(pid: int) -> float:
    """Processor time of a process's reaped children, and of theirs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process now, or its peak (``VmHWM``)."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if match is None:
        raise LookupError(f"process {pid} has no {field}")
    return int(match[1]) / 1024


def settle(pid: int) -> None:
    """Wait until a process and its descendants are idle.

    So the end of one CLI process, or the start of a spare one, is not counted in the
    next measurement.
    """
    before: dict[int, float] = {}
    since = time.monotonic()

    def is_quiet() -> bool | None:
        nonlocal before, since
        if time.monotonic() - since < _QUIET_SECONDS:
            return None
        now = {p: cpu_seconds(p) for p in processes(pid)}
        used = sum(now.values()) - sum(before.values())
        same = now.keys() == before.keys() and used * _TICKS <= 1
        before, since = now, time.monotonic()
        return same or None

    wait_for(is_quiet, "quiet", _SETTLE_SECONDS)


def processes(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    children = ""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    for number in children.split():
        yield from processes(int(number))


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def p90(values: Sequence[float]) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (head, rule, *rows):
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        print(f"| {' | '.join(cells)} |")


def print_machine() -> None:
    """Print the date, the number of cores and the load."""
    load = os.getloadavg()[0]
    today = time.strftime("%Y-%m-%d")
    print(f"{today}, {os.cpu_count()} cores, load {load:.2f} at the start\n")
