"""A scripted Messages API that gives the same tokens to every request, without delay.

If a request has tools, the answer is a call of ``look``. The answer to its result has
the tokens. A word in the last message of the user changes the answer:

- ``SLOW``: 10 ms between tokens;
- ``THINK``: thinking before the tokens;
- ``LENGTH``, ``REFUSE``: the answer stops for that reason;
- ``CUT``: the first attempt breaks off in mid-answer;
- ``FAIL``: an error.

``python -m benchmarks.upstream --port 0 --tokens 200``; prints its port.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet import reactor as _reactor

from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite
from ccproxy.server.scripted_reply import Reply, ScriptedBlock

reactor: Any = _reactor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    block = ScriptedBlock(tuple(f"token{number} " for number in range(options.tokens)))
    reply = Reply(blocks=(block,), output_tokens=options.tokens)
    call = ScriptedBlock(('{"at": "home"}',), tool_use=("toolu_1", "look"))
    calls = Reply(blocks=(call,), stop_reason="tool_use")

    thought = ScriptedBlock(("Let me ", "see."), is_thinking=True)
    odd = {
        "SLOW": evolve(reply, delay_seconds=0.01),
        "THINK": evolve(reply, blocks=(thought, block)),
        "LENGTH": evolve(reply, stop_reason="max_tokens"),
        "REFUSE": evolve(reply, stop_reason="refusal"),
        "FAIL": Reply(
            status=400,
            error=("invalid_request_error", "the prompt has FAIL"),
        ),
    }
    cut = evolve(reply, cut_after=2)
    met: set[str] = set()

    def script(body: Mapping[str, Any]) -> Reply:
        last = str([m for m in body["messages"] if m["role"] == "user"][-1]["content"])
        if "CUT" in last:
            if last in met:
                met.remove(last)
                return reply
            met.add(last)
            return cut
        for word, other in odd.items():
            if word in last:
                return other
        return calls if body["tools"] and "tool_result" not in last else reply

    site = MessagesSite(FakeMessagesAPI(script, reactor), reactor)
    port = reactor.listenTCP(options.port, site, interface="127.0.0.1")
    print(f"port {port.getHost().port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
