"""First token and whole answer: ccproxy against the bare CLI, taking turns.

Three ways to the same answer of 200 tokens, each with the real CLI and one
scripted upstream on loopback, which answers without delay:

- ``bare CLI``: ``claude --print`` started for the question, as a user would;
- ``bare CLI, lean``: the same with ccproxy's own flags and environment, which
  spare it work: what is left of the difference is the proxy's;
- ``ccproxy``: a streamed chat completion from a running server.

Every time is counted from the start (of the process, or of the connection) to the
first piece of text and to the end of the answer (the ``result`` line; ``[DONE]``).
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from benchmarks.harness import (
    Server,
    child,
    folder,
    logged_port,
    median,
    p90,
    print_machine,
    print_table,
    server,
    settle,
)
from ccproxy.claude.launch import Launch, child_environment, find_claude, read_version

_PROMPT = "Count to two hundred."
_TOKENS = 200
_BARE = (
    *("--print", "--input-format", "text", "--output-format", "stream-json"),
    *("--verbose", "--include-partial-messages", "--model", "sonnet"),
)


@frozen
class Sample:
    """Milliseconds to the first text and to the end."""

    first: float
    total: float


def measure(start: Callable[[], Iterable[bytes]], text: bytes, end: bytes) -> Sample:
    """Time the lines of one answer; it has to have every token."""
    began = time.perf_counter()
    first = total = 0.0
    tokens = 0
    for line in start():
        if text in line:
            first = first or time.perf_counter() - began
            tokens += 1
        elif end in line:
            total = time.perf_counter() - began
    if tokens != _TOKENS or not total:
        raise RuntimeError(f"an answer of {tokens} tokens, not {_TOKENS}")
    return Sample(1000 * first, 1000 * total)


def ask_bare(
    command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> Sample:
    def lines() -> Iterable[bytes]:
        with subprocess.Popen(
            [*command, _PROMPT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            env=environment,
        ) as process:
            try:
                if process.stdout is not None:
                    yield from process.stdout
            finally:
                process.kill()

    return measure(lines, b'"text_delta"', b'"type":"result"')


def ask_proxy(proxy: Server) -> Sample:
    def lines() -> Iterable[bytes]:
        connection = proxy.ask(_PROMPT)
        try:
            yield from connection.getresponse()
        finally:
            connection.close()

    sample = measure(lines, b'"delta":{"content":', b"data: [DONE]")
    settle(proxy.pid)
    return sample


def lean_command(claude: Path, cwd: Path) -> list[str]:
    """What the proxy starts, but for one question in the form of text."""
    launch = Launch(
        binary=claude, prefix=(), cwd=cwd, scratch=cwd, environment={}, model="sonnet"
    )
    command = list(launch.argv)
    command[command.index("--input-format") + 1] = "text"
    # An option that takes several values would swallow the prompt.
    return [*command, "--"]


def run(rounds: int) -> None:
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {rounds} rounds, {_TOKENS} tokens; ", end="")
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        path = {"PATH": os.environ["PATH"]}
        log = place / "upstream.log"
        argv = [sys.executable, "-m", "benchmarks.upstream", "--tokens", str(_TOKENS)]
        upstream = stack.enter_context(child(argv, log, path))
        port = logged_port(upstream, log, r"port (\d+)")
        environment = {
            **path,
            "HOME": str(place / "home"),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
            "ANTHROPIC_API_KEY": "dummy",
        }
        proxy = stack.enter_context(server(place, claude, environment))
        cwd = place / "cwd"
        lean = lean_command(claude, cwd)
        lean_environment = child_environment(environment)
        ways: Mapping[str, Callable[[], Sample]] = {
            "bare CLI": lambda: ask_bare([claude, *_BARE], cwd, environment),
            "bare CLI, lean": lambda: ask_bare(lean, cwd, lean_environment),
            "ccproxy": lambda: ask_proxy(proxy),
        }
        for ask in ways.values():
            ask()  # the first of each fills caches
        samples: dict[str, list[Sample]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                samples[name].append(ask())
    report(samples)


def report(samples: Mapping[str, Sequence[Sample]]) -> None:
    columns = {
        name: ([s.first for s in taken], [s.total for s in taken])
        for name, taken in samples.items()
    }
    bare_first, bare_total = map(median, columns["bare CLI"])
    rows = []
    for name, (first, total) in columns.items():
        cells = [median(first), p90(first), median(total), p90(total)]
        ratios = [bare_first / median(first), bare_total / median(total)]
        rows.append(
            [name, *(f"{c:.0f}" for c in cells), *(f"{r:.2f}x" for r in ratios)]
        )
    print_table(
        [
            *("milliseconds", "first token, median", "p90", "whole, median", "p90"),
            *("first: faster by", "whole: faster by"),
        ],
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    run(parser.parse_args().rounds)
