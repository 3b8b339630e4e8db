"""A Messages API that answers everything with the same tokens, at once.

``python -m benchmarks.upstream --port 0 --tokens 200``; prints its port.
"""

import argparse
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
    site = MessagesSite(MessagesAPI(lambda _: reply, reactor), reactor)
    port = reactor.listenTCP(options.port, site, interface="127.0.0.1")
    print(f"port {port.getHost().port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
