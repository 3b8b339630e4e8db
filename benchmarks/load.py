"""Measures requests a second, and the processor time of a request.

The real CLI asks a scripted upstream on loopback. Each client asks one question after
the other, all with the same system prompt, and reads each answer of 20 tokens to its
end. Processor time is that of the server and of all processes that it started.

``--beside CHECKOUT`` also measures a server of another version, in the same run.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from attrs import mutable

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
from ccproxy.claude.process.binary import find_claude, read_version

_TOKENS = 20
_CLIENTS = (1, 8, 32)
# The server starts its CLIs, which is not what is measured.
_WARM_UP_SECONDS = 3.0


@mutable
class Sample:
    """The measurements for a number of clients, added up."""

    answers: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0

    def cells(self) -> list[str]:
        """Requests a second, and processor time of a request."""
        own = 1000 * self.server_cpu_seconds / self.answers
        return [
            f"{self.answers / self.seconds:.1f}",
            f"{self.cpu_seconds / self.answers:.3f}",
            f"{own:.1f}",
        ]


def ask(proxy: Server, clients: int, seconds: float) -> int:
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

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(lambda _: client(), range(clients)))


def measure(proxy: Server, clients: int, seconds: float, sample: Sample) -> None:
    """Add a measurement, after some seconds that do not count."""
    ask(proxy, clients, _WARM_UP_SECONDS)
    settle(proxy.pid)
    used, own = tree_seconds(proxy.pid), cpu_seconds(proxy.pid)
    began = time.perf_counter()
    sample.answers += ask(proxy, clients, seconds)
    sample.seconds += time.perf_counter() - began
    settle(proxy.pid)
    sample.cpu_seconds += tree_seconds(proxy.pid) - used
    sample.server_cpu_seconds += cpu_seconds(proxy.pid) - own


def run(
    clients: Sequence[int], seconds: float, rounds: int, beside: Path | None
) -> None:
    """Measure the servers in turn, and print the table."""
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {rounds} times {seconds:g} s each; ", end="")
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
        for number in clients:
            samples = {name: Sample() for name in proxies}
            for _ in range(rounds):
                for name, proxy in proxies.items():
                    measure(proxy, number, seconds, samples[name])
            rows += [[f"{number}, {name}", *s.cells()] for name, s in samples.items()]
    head = ("clients", "requests/s", "CPU-s a request", "of the server's, ms")
    print_table(head, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=_CLIENTS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    run(options.clients, options.seconds, options.rounds, options.beside)
