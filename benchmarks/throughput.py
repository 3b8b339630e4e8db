"""Measures deltas a second through the whole server, from a CLI that never waits.

Three readers take turns to read the same lines of `benchmarks.flood_claude`:

- ``bare pipe``: reads its stdout and counts the deltas;
- ``pipe and json``: reads its stdout and parses each line with ``json.loads``, which
  any program must do that needs the text;
- ``ccproxy``: reads the event stream of a chat completion and counts the deltas. The
  server's processor time is read from ``/proc``.

``--beside CHECKOUT`` also reads from a server of another version.

The clock runs from the first byte of the first delta to the last byte of the last. So
neither the start of the process nor the making of its lines is measured.
"""

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from benchmarks.harness import (
    Server,
    cpu_seconds,
    folder,
    median,
    memory_mb,
    print_machine,
    print_table,
    server,
    settle,
)

_READ_BYTES = 2**18
BODY = ("--compose", "body")
_OF_LINES = b'"type":"text_delta"'
OF_STREAM = b'"delta":{"content":'


@frozen
class Sample:
    """The measurement of one reader, with the server's processor time."""

    deltas: int
    read_bytes: int
    seconds: float
    cpu_seconds: float = 0.0


class Counting:
    """Counts a text that every delta has, also across pieces."""

    def __init__(self, needle: bytes) -> None:
        self._needle = needle
        self._tail = b""

    def feed(self, data: bytes) -> int:
        searched = self._tail + data
        self._tail = searched[1 - len(self._needle) :]
        return searched.count(self._needle)


class Parsing:
    """Counts deltas by parsing lines of JSON."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> int:
        *lines, self._rest = (self._rest + data).split(b"\n")
        records = map(json.loads, lines)
        return sum(
            record["type"] == "stream_event"
            and record["event"]["type"] == "content_block_delta"
            for record in records
        )


def measure(pieces: Iterator[bytes], counter: Counting | Parsing) -> Sample:
    deltas = read_bytes = 0
    first = last = 0.0
    for data in pieces:
        first = first or time.perf_counter()
        found = counter.feed(data)
        if found:
            last = time.perf_counter()
        elif not deltas:
            first = 0.0
        deltas += found
        read_bytes += len(data)
    return Sample(deltas, read_bytes, last - first)


def read_pipe(claude: Path, count: int) -> Iterator[bytes]:
    message = {"role": "user", "content": f"FLOOD {count}"}
    with subprocess.Popen(
        [claude], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            if process.stdin is None or process.stdout is None:
                return
            line = json.dumps({"type": "user", "message": message})
            process.stdin.write(line.encode() + b"\n")
            process.stdin.close()
            while data := process.stdout.read(_READ_BYTES):
                yield data
        finally:
            process.kill()


def read_proxy(proxy: Server, count: int) -> Iterator[bytes]:
    connection = proxy.ask(f"FLOOD {count}")
    try:
        # Reads the socket: http.client would take longer than the server.
        stream: socket.socket = connection.sock
        while data := stream.recv(_READ_BYTES):
            yield data
    finally:
        connection.close()


def ask_proxy(proxy: Server, count: int) -> Sample:
    before = cpu_seconds(proxy.pid)
    sample = measure(read_proxy(proxy, count), Counting(OF_STREAM))
    settle(proxy.pid)
    used = cpu_seconds(proxy.pid) - before
    return Sample(sample.deltas, sample.read_bytes, sample.seconds, used)


def run(rounds: int, count: int, beside: Path | None) -> None:
    print(f"{rounds} rounds of {count} deltas; ", end="")
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        claude = stand_in(place)
        environment = {"PATH": os.environ["PATH"], "HOME": str(place / "home")}
        # A stand-in would not pass the check that the CLI merges bodies.
        run = server(place, claude, environment, *BODY)
        proxy = stack.enter_context(run)
        memory = [memory_mb(proxy.pid)]
        ways: dict[str, Callable[[], Sample]] = {
            "bare pipe": lambda: measure(read_pipe(claude, count), Counting(_OF_LINES)),
            "pipe and json": lambda: measure(read_pipe(claude, count), Parsing()),
            "ccproxy": lambda: ask_proxy(proxy, count),
        }
        if beside is not None:
            run = server(place, claude, environment, checkout=beside)
            other = stack.enter_context(run)
            ways[beside.name] = lambda: ask_proxy(other, count)
        samples: dict[str, list[Sample]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                sample = ask()
                if sample.deltas != count:
                    raise RuntimeError(f"{name}: {sample.deltas} deltas, not {count}")
                samples[name].append(sample)
            memory.append(memory_mb(proxy.pid))
        peak = memory_mb(proxy.pid, "VmHWM")
    report(samples)
    print()
    for name in [*samples][2:]:
        used = median([s.cpu_seconds * 100_000 / s.deltas for s in samples[name]])
        print(f"{name}: {used:.2f} CPU-seconds of the server for 100,000 deltas")
    print(
        f"server: {memory[0]:.0f} MB before, {memory[1]:.0f} MB after the first round, "
        f"{memory[-1]:.0f} MB after the last, {peak:.0f} MB at its peak"
    )


def stand_in(place: Path) -> Path:
    """Make an executable that runs `benchmarks.flood_claude`."""
    program = Path(__file__).with_name("flood_claude.py")
    script = place / "claude"
    command = shlex.join([sys.executable, "-I", str(program)])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    return script


def report(samples: Mapping[str, Sequence[Sample]]) -> None:
    rates = {
        name: median([s.deltas / s.seconds for s in taken])
        for name, taken in samples.items()
    }
    rows = []
    for name, taken in samples.items():
        megabytes = median([s.read_bytes / s.seconds / 1e6 for s in taken])
        ratios = [
            rates[name] / rates[other] for other in ("bare pipe", "pipe and json")
        ]
        cells = [f"{rates[name]:,.0f}", f"{megabytes:,.0f}"]
        rows.append([name, *cells, *(f"{ratio:.3f}" for ratio in ratios)])
    head = ("median", "deltas/s", "MB/s", "of the bare pipe", "of pipe and json")
    print_table(head, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deltas", type=int, default=200_000)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    run(options.rounds, options.deltas, options.beside)
