"""Measures the cost of storing a response, and the speed of the encoders.

The first table is of one streamed answer through the real CLI, with ``store`` true and
false in turn, on SQLite. The second table is of the encoders alone, with one event at a
time.
"""

import argparse
import http.client
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from benchmarks.harness import (
    KEY,
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
from ccproxy.api.chat.response import CompletionMeta
from ccproxy.api.chat.stream import ChatStream
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.claude.process.binary import find_claude, read_version
from ccproxy.core.stream import Event, Finished, MessageStart, TextDelta

_TOKENS = 200
_DELTAS = 200_000


def ask(proxy: Server, store: bool) -> float:
    """Ask, and return the milliseconds to the end of the streamed response."""
    body = json.dumps({"input": "Count.", "stream": True, "store": store})
    headers = {"authorization": f"Bearer {KEY}", "connection": "close"}
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    connection.request("POST", "/v1/responses", body, headers)
    text = connection.getresponse().read()
    milliseconds = 1000 * (time.monotonic() - begin)
    connection.close()
    if b"event: response.completed" not in text:
        raise RuntimeError(text[-500:].decode())
    settle(proxy.pid)
    return milliseconds


def encode(stream: ChatStream | ResponseStream) -> float:
    """Encode one event at a time; returns events a second."""
    events: list[Event] = [MessageStart("m")]
    events += [TextDelta(" word") for _ in range(_DELTAS)]
    events.append(Finished("end_turn"))
    begin = time.monotonic()
    [encode_events] = stream.encoders
    for event in events:
        encode_events([event])
    return len(events) / (time.monotonic() - begin)


def run(rounds: int) -> None:
    """Measure, and print two tables."""
    claude = find_claude(None, "")
    print(f"claude {read_version(claude)}, {rounds} rounds, {_TOKENS} tokens; ", end="")
    print_machine()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        environment = stack.enter_context(upstream(place, _TOKENS))
        proxy = stack.enter_context(server(place, claude, environment))
        ways: Mapping[str, Callable[[], float]] = {
            "store: false": lambda: ask(proxy, False),
            "store: true": lambda: ask(proxy, True),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                milliseconds = way()
                if number:  # the first of each fills caches
                    times[name].append(milliseconds)
    without = median(times["store: false"])
    print_table(
        ("whole answer", "median ms", "p90", "ratio"),
        [
            (name, f"{median(t):.0f}", f"{p90(t):.0f}", f"{median(t) / without:.3f}")
            for name, t in times.items()
        ],
    )
    echo = decode_responses(b'{"input": "x"}').echo
    rates: dict[str, list[float]] = {"chat": [], "responses": []}
    for _ in range(5):
        meta = CompletionMeta(id="c", created=0)
        rates["chat"].append(encode(ChatStream(meta, 1, False)))
        rates["responses"].append(encode(ResponseStream("r", echo, time.time)))
    chat = median(rates["chat"])
    print_table(
        ("encoder", "events/s", "of chat"),
        [(n, f"{median(r):,.0f}", f"{median(r) / chat:.2f}") for n, r in rates.items()],
    )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    run(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
