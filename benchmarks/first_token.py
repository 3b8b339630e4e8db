"""Measures the time to the first token and to the end, with ccproxy and the bare CLI.

All take turns to ask for the same answer of 200 tokens, with the real CLI and one
scripted upstream on loopback, which answers without delay:

- ``bare CLI``: ``claude --print`` started for the question, as a user would;
- ``bare CLI, lean``: the same with ccproxy's flags and environment;
- ``spare's first answer``: a process that was kept ready, and has not answered yet;
- ``new system prompt`` … ``200 messages``: requests to a running server;
- ``CLI alone, warm``: a process that this benchmark drives over its pipes as the proxy
  does. The difference to ``other conversation`` is the time that the proxy adds.

Times begin with the start of the process, or of the connection. They end at the first
piece of text, or at the answer's end (the ``result`` line; ``[DONE]``).

``--beside CHECKOUT`` also asks a server of another version, in the same rounds.
"""

import argparse
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from attrs import frozen

from benchmarks.harness import (
    Server,
    folder,
    median,
    p90,
    print_machine,
    print_table,
    server,
    settle,
    upstream,
)
from ccproxy.claude.process.binary import find_claude, read_version
from ccproxy.claude.process.launch import LaunchSpec, child_environment

_PROMPT = "Count to two hundred."
_TOKENS = 200
_BARE = (
    *("--print", "--input-format", "text", "--output-format", "stream-json"),
    *("--verbose", "--include-partial-messages", "--model", "sonnet"),
)


@frozen
class Sample:
    """Milliseconds to the first piece of text and to the answer's end."""

    first: float
    total: float


_DELTA = b'"delta":{"content":'
_LOOK = {"name": "look", "parameters": {"type": "object"}}
_TOOLS = [{"type": "function", "function": _LOOK}]


def measure(start: Callable[[], Iterable[bytes]], text: bytes, end: bytes) -> Sample:
    """Time the lines of one answer; raises RuntimeError if tokens are missing."""
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


class WarmCLI:
    """A CLI process that is asked one question after the other, without a proxy."""

    def __init__(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            env=environment,
        )
        self._last = ""
        self._control({"subtype": "initialize", "systemPrompt": [""]})
        self._control(
            {"subtype": "set_model", "model": "default", "system_prompt": "Be brief."}
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> Sample:
        def lines() -> Iterable[bytes]:
            self._control(*self._prepared())
            self._send(
                {
                    "type": "user",
                    "message": {"role": "user", "content": _PROMPT},
                    "parent_tool_use_id": None,
                    "session_id": "",
                    "uuid": self._last,
                    "client_composed": True,
                }
            )
            for line in self._lines():
                yield line
                if b'"type":"result"' in line:
                    return

        return measure(lines, b'"text_delta"', b'"type":"result"')

    def _prepared(self) -> Iterable[Mapping[str, object]]:
        if self._last:
            yield {
                "subtype": "rewind_conversation",
                "target_message_uuid": self._last,
                "last_seen_user_message_uuid": self._last,
            }
        self._last = str(uuid4())
        body = {"messages": [_said("user", f"{_PROMPT} {self._last}")]}
        env = {"CLAUDE_CODE_EXTRA_BODY": json.dumps(body)}
        settings = {"model": "sonnet", "env": env}
        yield {"subtype": "apply_flag_settings", "settings": settings}

    def _control(self, *requests: Mapping[str, object]) -> None:
        records = [
            {"type": "control_request", "request_id": str(n), "request": request}
            for n, request in enumerate(requests)
        ]
        self._send(*records)
        waiting = len(records)
        for line in self._lines():
            waiting -= b'"control_response"' in line
            if not waiting:
                return

    def _send(self, *records: Mapping[str, object]) -> None:
        if self._process.stdin is not None:
            lines = [json.dumps(record).encode() + b"\n" for record in records]
            self._process.stdin.write(b"".join(lines))
            self._process.stdin.flush()

    def _lines(self) -> Iterable[bytes]:
        # Not `yield from`, which would close the pipe with the generator.
        while self._process.stdout is not None:
            yield self._process.stdout.readline()


class Proxied:
    """Requests to a running server, of kinds that may differ in time."""

    def __init__(self, proxy: Server) -> None:
        self._proxy = proxy
        self._numbers = itertools.count()

    def new_system(self) -> Sample:
        """A request with a new system prompt."""
        return self._ask(self._begin(f"You are number {next(self._numbers)}."))

    def same_system(self) -> Sample:
        """A new conversation with the system prompt of the previous request."""
        return self._ask(self._begin("Be brief."))

    def other_model(self) -> Sample:
        """A new conversation with another model than the previous request."""
        model = ("opus", "haiku")[next(self._numbers) % 2]
        return self._ask(self._begin("Be brief."), model=model)

    def long_history(self, messages: int = 200) -> Sample:
        """A new conversation that has many messages."""
        history = self._begin("Be brief.")
        for number in range(messages // 2):
            history += [_said("assistant", "Fine."), _said("user", f"And {number}?")]
        return self._ask(history)

    def next_turn(self, turns: int = 1, size: int = 0) -> Sample:
        """The turn after an answer of the server's, in a conversation of some turns."""
        history = self._begin("Be brief.", size)
        for number in range(turns - 1):
            # The server answered only the last of these turns.
            history += [_said("assistant", "Fine."), _said("user", f"And {number}?")]
        said: list[bytes] = []
        self._ask(history, said)
        answer = "".join(map(_content, said))
        return self._ask([*history, _said("assistant", answer), _said("user", "On.")])

    def tool_result(self) -> Sample:
        """The result of a tool call that the server has just answered with."""
        history = self._begin("Be brief.")
        call = {"name": "look", "arguments": '{"at": "home"}'}
        connection = self._proxy.ask(history, tools=_TOOLS)
        connection.getresponse().read()
        settle(self._proxy.pid)
        about = {"id": "toolu_1", "type": "function", "function": call}
        asked = {"role": "assistant", "content": None, "tool_calls": [about]}
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "a cat"}
        return self._ask([*history, asked, result], tools=_TOOLS)

    def _begin(self, system: str, size: int = 0) -> list[object]:
        prompt = f"{_PROMPT} {next(self._numbers)} {'x' * size}"
        return [_said("system", system), _said("user", prompt)]

    def _ask(
        self,
        messages: Sequence[object],
        told: list[bytes] | None = None,
        **fields: object,
    ) -> Sample:
        def lines() -> Iterable[bytes]:
            for line in self._proxy.lines(messages, **fields):
                if told is not None and _DELTA in line:
                    told.append(line)
                yield line

        sample = measure(lines, _DELTA, b"data: [DONE]")
        settle(self._proxy.pid)
        return sample


def _said(role: str, text: str) -> object:
    return {"role": role, "content": text}


def _content(line: bytes) -> str:
    chunk = json.loads(line.removeprefix(b"data: "))
    content: str = chunk["choices"][0]["delta"]["content"]
    return content


def launch_of(claude: Path, cwd: Path) -> LaunchSpec:
    """The command by which the proxy starts a CLI process."""
    return LaunchSpec(
        binary=claude, prefix=(), cwd=cwd, scratch=cwd, environment={}, model="sonnet"
    )


def lean_command(claude: Path, cwd: Path) -> list[str]:
    """The proxy's command, changed to take one question as text."""
    command = list(launch_of(claude, cwd).argv)
    command[command.index("--input-format") + 1] = "text"
    # An option that takes several values would swallow the prompt.
    return [*command, "--"]


def run(rounds: int, *, more: bool = False, beside: Path | None = None) -> None:
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {rounds} rounds, {_TOKENS} tokens; ", end="")
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        environment = stack.enter_context(upstream(place, _TOKENS))

        def start(*flags: str, checkout: Path | None = None) -> Proxied:
            run = server(place, claude, environment, *flags, checkout=checkout)
            return Proxied(stack.enter_context(run))

        cwd = place / "cwd"
        lean_environment = child_environment(environment)
        ways: dict[str, Callable[[], Sample]] = {
            "bare CLI": lambda: ask_bare([claude, *_BARE], cwd, environment)
        }
        if more:
            ways |= growth(start())
        else:
            lean = lean_command(claude, cwd)
            warm = WarmCLI(launch_of(claude, cwd).argv, cwd, lean_environment)
            stack.callback(warm.close)
            ways |= {
                "bare CLI, lean": lambda: ask_bare(lean, cwd, lean_environment),
                # With this flag every process is replaced after its first answer.
                "spare's first answer": start("--recycle-rss", "1MB").new_system,
                **kinds(start()),
                "CLI alone, warm": warm.ask,
            }
        if beside is not None:
            other = start(checkout=beside)
            theirs = growth(other) if more else kinds(other)
            ways |= {f"{name}, {beside.name}": ask for name, ask in theirs.items()}
        for ask in ways.values():
            ask()  # the first request of each kind fills caches
        samples: dict[str, list[Sample]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                samples[name].append(ask())
    report(samples)


def kinds(asked: Proxied) -> Mapping[str, Callable[[], Sample]]:
    """Requests of each kind to a running server."""
    return {
        "new system prompt": asked.new_system,
        "other conversation": asked.same_system,
        "other model": asked.other_model,
        "next turn": asked.next_turn,
        "result of a tool": asked.tool_result,
        "200 messages": asked.long_history,
    }


def growth(asked: Proxied) -> Mapping[str, Callable[[], Sample]]:
    """The next turn, by the length of the history and of the prompt."""
    return {
        **{f"turn {n}": _turn(asked, n, 0) for n in (1, 10, 100)},
        **{f"prompt of {n:,}": _turn(asked, 1, n) for n in (10_000, 500_000)},
    }


def _turn(asked: Proxied, turns: int, size: int) -> Callable[[], Sample]:
    return lambda: asked.next_turn(turns, size)


def report(samples: Mapping[str, Sequence[Sample]]) -> None:
    columns = {
        name: ([s.first for s in taken], [s.total for s in taken])
        for name, taken in samples.items()
    }
    bare_first, bare_total = map(median, columns["bare CLI"])
    rows = []
    for name, (first, total) in columns.items():
        cells = [median(first), p90(first), median(total), p90(total)]
        ratios = [median(first) / bare_first, median(total) / bare_total]
        rows.append([name, *(f"{c:.1f}" for c in cells), *(f"{r:.3f}" for r in ratios)])
    print_table(
        [
            *("milliseconds", "first token, median", "p90", "whole, median", "p90"),
            *("first, of bare", "whole, of bare"),
        ],
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--growth", action="store_true", help="by length of history")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    run(options.rounds, more=options.growth, beside=options.beside)
