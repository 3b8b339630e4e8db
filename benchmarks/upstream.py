"""A Messages API that answers everything with the same tokens, at once.

If tools are offered it calls the first, and answers when it has the result.

``python -m benchmarks.upstream --port 0 --tokens 200``; prints its port.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor as _reactor

from ccproxy.demo import Block, MessagesAPI, MessagesSite, Reply

reactor: Any = _reactor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    block = Block(tuple(f"token{number} " for number in range(options.tokens)))
    reply = Reply(blocks=(block,), output_tokens=options.tokens)
    call = Block(('{"at": "home"}',), tool_use=("toolu_1", "look"))
    calls = Reply(blocks=(call,), stop_reason="tool_use")

    def script(body: Mapping[str, Any]) -> Reply:
        last = [m for m in body["messages"] if m["role"] == "user"][-1]
        return calls if body["tools"] and "tool_result" not in str(last) else reply

    site = MessagesSite(MessagesAPI(script, reactor), reactor)
    port = reactor.listenTCP(options.port, site, interface="127.0.0.1")
    print(f"port {port.getHost().port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
