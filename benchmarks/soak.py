"""Sends mixed traffic for a long time: does anything grow, or go wrong?

The whole server runs with the real CLI, in front of a scripted upstream on loopback.
Six clients stream, converse, call tools, store responses, disconnect in mid-answer,
meet broken connections and errors, and send invalid requests. Every answer is compared
with the right answer. Memory, descriptors, processes and requests are sampled every two
seconds. The last quarter of the time should have the figures of the second quarter.

``python -m benchmarks.soak --minutes 20 --plot soak.png`` (the plot needs matplotlib)
"""

import argparse
import http.client
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from benchmarks.harness import (
    KEY,
    folder,
    median,
    memory_mb,
    print_machine,
    print_table,
    processes,
    server,
    upstream,
)
from ccproxy.claude.process.binary import find_claude, read_version

_CLIENTS = 6
_TOKENS = 30
_SAMPLE_SECONDS = 2.0
_TIMEOUT_SECONDS = 60.0
_ANSWER = "".join(f"token{number} " for number in range(_TOKENS))
_LOOK = {"name": "look", "parameters": {"type": "object"}}
_TOOLS = [{"type": "function", "function": _LOOK}]


class WrongAnswer(Exception):
    """An answer is not the right one."""


def check(condition: object, seen: object) -> None:
    """Raise `WrongAnswer` with ``seen`` unless the condition holds."""
    if not condition:
        raise WrongAnswer(str(seen)[:300])


@define
class Client:
    """A client with its own conversation.

    Attributes:
        counts: requests by kind, and wrong answers; shared by all clients.
        faults: descriptions of wrong answers; shared by all clients.
    """

    port: int
    rng: random.Random
    counts: Counter[str]
    faults: list[str]
    history: list[object] = field(factory=list)

    def run(self, until: float) -> None:
        kinds: Sequence[Callable[[], None]] = (
            *(self.streamed, self.next_turn, self.next_turn, self.whole),
            *(self.tool_loop, self.kept, self.hangs_up, self.cut),
            *(self.thinks, self.cut_short, self.refused, self.nonsense),
        )
        while time.monotonic() < until:
            kind = self.rng.choice(kinds)
            try:
                kind()
                self.counts[kind.__name__] += 1
            except (WrongAnswer, OSError, http.client.HTTPException) as error:
                self.counts["wrong"] += 1
                self.faults.append(f"{kind.__name__}: {error!r}")

    def post(
        self, body: Mapping[str, object] | bytes, path: str = "chat/completions"
    ) -> tuple[int, bytes]:
        """Send a request; returns status and body of the response."""
        connection = self.connect(body, path)
        try:
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def connect(
        self, body: Mapping[str, object] | bytes, path: str = "chat/completions"
    ) -> http.client.HTTPConnection:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {KEY}"}
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=_TIMEOUT_SECONDS
        )
        connection.request("POST", f"/v1/{path}", data, headers)
        return connection

    def ask(self, messages: Sequence[object], **fields: object) -> Any:
        """Ask without streaming; returns the answer's choice."""
        status, text = self.post({"messages": messages, **fields})
        check(status == 200, text)
        return json.loads(text)["choices"][0]

    def user(self, word: str = "Go on") -> object:
        return {"role": "user", "content": f"{word} {self.rng.random()}"}

    def system(self) -> object:
        return {"role": "system", "content": f"You are {self.rng.randrange(3)}."}

    # Kinds of requests

    def streamed(self) -> None:
        word = self.rng.choice(("Hello", "SLOW"))
        messages = [self.system(), self.user(word)]
        status, text = self.post({"messages": messages, "stream": True})
        check(status == 200 and text.endswith(b"data: [DONE]\n\n"), text)
        check(_streamed(text) == _ANSWER, text)

    def next_turn(self) -> None:
        if len(self.history) > 12 or not self.history:
            self.history = [self.system()]
        self.history.append(self.user())
        choice = self.ask(self.history)
        check(choice["message"]["content"] == _ANSWER, choice)
        self.history.append({"role": "assistant", "content": _ANSWER})

    def whole(self) -> None:
        choice = self.ask([self.user()], max_tokens=1000)
        check(choice["finish_reason"] == "stop", choice)
        check(choice["message"]["content"] == _ANSWER, choice)

    def thinks(self) -> None:
        choice = self.ask([self.user("THINK")])
        check(choice["message"]["reasoning_content"] == "Let me see.", choice)

    def tool_loop(self) -> None:
        messages = [self.system(), self.user()]
        choice = self.ask(messages, tools=_TOOLS)
        check(choice["finish_reason"] == "tool_calls", choice)
        if self.rng.random() < 0.2:
            return  # the client never sends the result
        [call] = choice["message"]["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": "a cat"}
        choice = self.ask([*messages, choice["message"], result], tools=_TOOLS)
        check(choice["message"]["content"] == _ANSWER, choice)

    def kept(self) -> None:
        status, text = self.post({"input": "Hello"}, "responses")
        check(status == 200, text)
        first = json.loads(text)
        after = {"input": "And?", "previous_response_id": first["id"]}
        status, text = self.post({**after, "stream": True}, "responses")
        check(status == 200 and b"event: response.completed" in text, text)

    def hangs_up(self) -> None:
        connection = self.connect({"messages": [self.user("SLOW")], "stream": True})
        connection.getresponse().read(self.rng.randrange(1, 2000))
        connection.close()

    def cut(self) -> None:
        status, text = self.post({"messages": [self.user("CUT")], "stream": True})
        check(status == 200 and _streamed(text) == _ANSWER, text)

    def cut_short(self) -> None:
        word, reason = self.rng.choice(
            (("LENGTH", "length"), ("REFUSE", "content_filter"))
        )
        choice = self.ask([self.user(word)])
        check(choice["finish_reason"] == reason, choice)

    def refused(self) -> None:
        status, text = self.post({"messages": [self.user("FAIL")]})
        check(status == 400 and b"the prompt has FAIL" in text, text)

    def nonsense(self) -> None:
        body, wanted = self.rng.choice(
            (
                (b"{", 400),
                (b'{"messages": 7}', 400),
                (
                    b'{"messages": [{"role": "user", "content": "x"}], "model": "x"}',
                    404,
                ),
                (b"x" * 5_000_000, 413),
            )
        )
        status, text = self.post(body)
        check(status == wanted, text)


def _streamed(text: bytes) -> str:
    said = []
    for line in text.split(b"\n"):
        if line.startswith(b"data: {"):
            chunk = json.loads(line.removeprefix(b"data: "))
            check("choices" in chunk, chunk)
            said += [c["delta"].get("content") or "" for c in chunk["choices"]]
    return "".join(said)


@frozen
class Sample:
    """The server's figures at one time; memory in MB."""

    minutes: float
    memory: float
    descriptors: int
    processes: int
    clis_memory: float
    requests: int
    wrong: int


_CURVES: Mapping[str, Callable[[Sample], float]] = {
    "server, MB": lambda s: s.memory,
    "descriptors": lambda s: s.descriptors,
    "processes": lambda s: s.processes,
    "CLIs, MB": lambda s: s.clis_memory,
}


def look(pid: int, began: float, counts: Counter[str]) -> Sample:
    below = [p for p in processes(pid) if p != pid]
    return Sample(
        (time.monotonic() - began) / 60,
        memory_mb(pid),
        len(os.listdir(f"/proc/{pid}/fd")),
        len(below),
        sum(_memory(p) for p in below),
        counts.total(),
        counts["wrong"],
    )


def _memory(pid: int) -> float:
    try:
        return memory_mb(pid)
    except (OSError, LookupError):
        return 0.0  # gone meanwhile


def run(minutes: float, plot: Path | None) -> int:
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {minutes:g} minutes; ", end="")
    print_machine()
    counts: Counter[str] = Counter()
    faults: list[str] = []
    samples = []
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        environment = stack.enter_context(upstream(place, _TOKENS))
        flags = ("--max-processes", "6")
        proxy = stack.enter_context(server(place, claude, environment, *flags))
        began = time.monotonic()
        until = began + 60 * minutes
        threads = [
            threading.Thread(
                target=Client(proxy.port, random.Random(n), counts, faults).run,
                args=(until,),
            )
            for n in range(_CLIENTS)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            samples.append(look(proxy.pid, began, counts))
            time.sleep(_SAMPLE_SECONDS)
        for thread in threads:
            thread.join()
        noted = _worth_noting((place / "server0.log").read_text("utf-8", "replace"))
    report(samples, counts, faults, noted)
    if plot is not None:
        draw(samples, plot)
    return bool(faults or noted)


def _worth_noting(log: str) -> Counter[str]:
    """The server's warnings and errors in its log, counted by their beginning."""
    lines = [line for line in log.splitlines() if "#warn" in line or "#error" in line]
    lines += [line for line in log.splitlines() if "Traceback" in line]
    return Counter(line.partition("]")[2][:100] for line in lines)


def report(
    samples: Sequence[Sample],
    counts: Counter[str],
    faults: Sequence[str],
    noted: Counter[str],
) -> None:
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    rows = []
    for name, of in _CURVES.items():
        values = [median([of(s) for s in part]) for part in (second, last)]
        most = max(of(s) for s in samples)
        rows.append([name, *(f"{v:.1f}" for v in values), f"{most:.1f}"])
    print_table(["median", "second quarter", "last quarter", "most"], rows)
    done = counts.total() - counts["wrong"]
    print(f"\n{done} right answers, {counts['wrong']} wrong; requests by kind:")
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    for fault in faults[:20]:
        print(f"wrong: {fault}")
    for line, count in noted.items():
        print(f"logged {count} times: {line}")


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Plot the samples to a PNG file."""
    import matplotlib.pyplot as plot

    figure, axes = plot.subplots(len(_CURVES) + 1, 1, sharex=True, figsize=(9, 11))
    minutes = [s.minutes for s in samples]
    for axis, (name, of) in zip(axes, _CURVES.items(), strict=False):
        axis.plot(minutes, [of(s) for s in samples], linewidth=0.8)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0, top=1.15 * max(map(of, samples)))
    axes[-1].plot(minutes, [s.requests for s in samples], label="requests")
    axes[-1].plot(minutes, [s.wrong for s in samples], label="wrong")
    axes[-1].set_xlabel("minutes")
    axes[-1].legend()
    figure.suptitle("ccproxy under mixed traffic of six clients")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    sys.exit(run(options.minutes, options.plot))
