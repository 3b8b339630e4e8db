"""Measures memory with many open streams, and the rate of single deltas.

A stand-in for the CLI (`benchmarks.flood_claude`) runs one process for each stream, and
stops after its first delta. Memory is that of the server alone, from ``/proc``. Then
the stand-in writes each delta of one stream after the server has read the previous
delta.
"""

import argparse
import os
import socket
import time
from contextlib import ExitStack

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
from benchmarks.throughput import BODY, OF_STREAM, Counting, Sample, measure, stand_in

_STREAMS = (1, 32, 256)
_READ_BYTES = 2**18


def open_stream(proxy: Server) -> socket.socket:
    """Open a stream, and read its first delta."""
    connection = proxy.ask("HOLD FLOOD 10")
    stream: socket.socket = connection.sock
    received = b""
    while b'"content":" word' not in received:
        data = stream.recv(_READ_BYTES)
        if not data:
            raise RuntimeError(received.decode())
        received += data
    return stream


def drip(proxy: Server, deltas: int) -> Sample:
    """Read a stream whose deltas are written one by one."""
    before = cpu_seconds(proxy.pid)
    connection = proxy.ask(f"DRIP FLOOD {deltas}")
    stream: socket.socket = connection.sock

    pieces = iter(lambda: stream.recv(_READ_BYTES), b"")
    sample = measure(pieces, Counting(OF_STREAM))
    connection.close()
    settle(proxy.pid)
    used = cpu_seconds(proxy.pid) - before
    if sample.deltas != deltas:
        raise RuntimeError(f"{sample.deltas} deltas, not {deltas}")
    return Sample(sample.deltas, sample.read_bytes, sample.seconds, used)


def run(rounds: int, deltas: int) -> None:
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        environment = {"PATH": os.environ["PATH"], "HOME": str(place / "home")}
        flags = ("--max-processes", "300", "--spares", "0", *BODY)
        proxy = stack.enter_context(server(place, stand_in(place), environment, *flags))
        idle = memory_mb(proxy.pid)
        rows = [["0", f"{idle:.1f}", ""]]
        streams: list[socket.socket] = []
        for wanted in _STREAMS:
            while len(streams) < wanted:
                streams.append(open_stream(proxy))
            time.sleep(1)
            now = memory_mb(proxy.pid)
            each = 1000 * (now - idle) / wanted
            rows.append([str(wanted), f"{now:.1f}", f"{each:.0f}"])
        print_table(["open streams", "MB", "kB each"], rows)
        for stream in streams:
            stream.close()
        settle(proxy.pid)
        samples = [drip(proxy, deltas) for _ in range(rounds)]
        rates = [sample.deltas / sample.seconds for sample in samples]
        each = median([1e6 * sample.cpu_seconds / sample.deltas for sample in samples])
        print(
            f"\none by one: {median(rates):,.0f} deltas/s; "
            f"{each:.1f} CPU-microseconds of the server's for each"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deltas", type=int, default=50_000)
    options = parser.parse_args()
    run(options.rounds, options.deltas)
