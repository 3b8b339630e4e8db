"""Requests a second and processor time for each, with and without reuse of CLIs.

The real CLI and a scripted upstream on loopback; each client asks one question after
the other, all with the same system prompt, and reads each answer of 20 tokens to its
end. Processor time is that of the server and of everything that it has started.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count

from attrs import frozen

from benchmarks.harness import (
    Server,
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
    """What one crowd of clients saw."""

    per_second: float
    cpu_seconds: float


def drive(proxy: Server, clients: int, seconds: float) -> Sample:
    """Ask for so long; whoever has begun finishes."""
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
    with ThreadPoolExecutor(clients) as pool:
        answers = sum(pool.map(lambda _: client(), range(clients)))
    took = time.perf_counter() - began
    settle(proxy.pid)
    used = tree_seconds(proxy.pid) - before
    return Sample(answers / took, used / answers)


def run(seconds: float) -> None:
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {seconds:g} s each; ", end="")
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        environment = stack.enter_context(upstream(place, _TOKENS))

        def start(*flags: str) -> Server:
            return stack.enter_context(server(place, claude, environment, *flags))

        few = ("--max-processes", "4")
        proxies = {
            "reuse": start(*few),
            "a CLI for each": start(*few, "--reuse", "off", "--spares", "0"),
        }
        measured = {
            (name, clients): drive(proxy, clients, seconds)
            for clients in _CLIENTS
            for name, proxy in proxies.items()
        }
    rows = []
    for clients in _CLIENTS:
        again, anew = (measured[name, clients] for name in proxies)
        rows.append(
            [
                str(clients),
                f"{again.per_second:.1f}",
                f"{anew.per_second:.2f}",
                f"{again.per_second / anew.per_second:.1f}x",
                f"{again.cpu_seconds:.3f}",
                f"{anew.cpu_seconds:.3f}",
                f"{again.cpu_seconds / anew.cpu_seconds:.3f}",
            ]
        )
    print_table(
        [
            *("clients", "requests/s, reuse", "a CLI for each", "ratio"),
            *("CPU-s a request, reuse", "a CLI for each", "ratio"),
        ],
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    run(parser.parse_args().seconds)
