"""Measures requests a second, and the processor time of a request.

The real CLI asks a scripted upstream on loopback. Each client asks one question after
the other, all with the same system prompt, and reads each answer of 20 tokens to its
end. Processor time is that of the server and of all processes that it started.

``--beside CHECKOUT`` also measures a server of another version, in the same run.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from attrs import frozen

from benchmarks.harness import (
    Server,
    cpu_seconds,
    folder,
    print_machine,
    print_table,
    server,
    settle,
    tree_seconds,
    upstream,
)
from ccproxy.claude.process.launch import find_claude, read_version

_TOKENS = 20
_CLIENTS = (1, 8, 32)


@frozen
class Sample:
    """The measurement for a number of clients."""

    per_second: float
    cpu_seconds: float
    server_cpu_seconds: float


def drive(proxy: Server, clients: int, seconds: float) -> Sample:
    """Let clients ask for some seconds; answers that have begun are read to the end."""
    numbers = count()
    end = time.perf_counter() + seconds

    def client() -> int:
        answers = 0
        while time.perf_counter() < end:
            messages = [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"Question {next(numbers)}"},
            ]
            if not any(b"[DONE]" in line for line in proxy.lines(messages)):
                raise RuntimeError("an answer without an end")
            answers += 1
        return answers

    settle(proxy.pid)
    before, began = tree_seconds(proxy.pid), time.perf_counter()
    own = cpu_seconds(proxy.pid)
    with ThreadPoolExecutor(clients) as pool:
        answers = sum(pool.map(lambda _: client(), range(clients)))
    took = time.perf_counter() - began
    settle(proxy.pid)
    used = tree_seconds(proxy.pid) - before
    own = cpu_seconds(proxy.pid) - own
    return Sample(answers / took, used / answers, own / answers)


def run(seconds: float, beside: Path | None) -> None:
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {seconds:g} s each; ", end="")
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        environment = stack.enter_context(upstream(place, _TOKENS))

        def start(checkout: Path | None) -> Server:
            few = ("--max-processes", "4")
            run = server(place, claude, environment, *few, checkout=checkout)
            return stack.enter_context(run)

        proxies = {"this": start(None)}
        if beside is not None:
            proxies[beside.name] = start(beside)
        rows = []
        for clients in _CLIENTS:
            for name, proxy in proxies.items():
                sample = drive(proxy, clients, seconds)
                own = f"{1000 * sample.server_cpu_seconds:.1f}"
                cells = [f"{sample.per_second:.1f}", f"{sample.cpu_seconds:.3f}", own]
                rows.append([f"{clients}, {name}", *cells])
    head = ("clients", "requests/s", "CPU-s a request", "of the server's, ms")
    print_table(head, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    run(options.seconds, options.beside)
