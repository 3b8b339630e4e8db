"""A treq client: streams an answer, and cancels a second one half-way.

ccproxy --demo &
python examples/treq_client.py http://127.0.0.1:8080/v1 demo "Tell me a story"
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import treq
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from typing_extensions import override


class ServerSentEvents(Protocol):
    """Reads an event stream; ``done`` fires at its end.

    A cancellation of ``done`` closes the connection, which stops the model.
    """

    def __init__(self, receive: Callable[[str], None]) -> None:
        self._receive = receive
        self._pending = b""
        self.done: Deferred[None] = Deferred(self._hang_up)

    @override
    def dataReceived(self, data: bytes) -> None:
        *frames, self._pending = (self._pending + data).split(b"\n\n")
        for frame in frames:
            # Other frames are comments, which keep the connection alive.
            if frame.startswith(b"data: ") and not self.done.called:
                try:
                    self._receive(frame.removeprefix(b"data: ").decode())
                except Exception:  # noqa: BLE001  # the caller gets every error
                    self.done.errback()
                    self._hang_up()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    def _hang_up(self, _: object = None) -> None:
        transport: Any = self.transport
        transport.loseConnection()


async def stream_chat(
    base_url: str, key: str, prompt: str, receive: Callable[[str], None]
) -> None:
    """Ask, and pass each piece of the answer to ``receive`` as it arrives."""
    response = await treq.post(
        f"{base_url}/chat/completions",
        headers=Headers({"authorization": [f"Bearer {key}"]}),
        json={"stream": True, "messages": [{"role": "user", "content": prompt}]},
        persistent=False,
        unbuffered=True,
    )
    if response.code != 200:
        document = await response.json()
        raise RuntimeError(document["error"]["message"])

    def event_received(data: str) -> None:
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        for choice in chunk["choices"]:
            receive(choice["delta"].get("content") or "")

    events = ServerSentEvents(event_received)
    response.deliverBody(events)
    await events.done


async def stream_some(base_url: str, key: str, prompt: str, pieces: int) -> list[str]:
    """Ask, and close the connection after some pieces of the answer."""
    received: list[str] = []
    enough: Deferred[None] = Deferred()

    def receive(text: str) -> None:
        received.append(text)
        if len(received) == pieces:
            enough.callback(None)

    stream = Deferred.fromCoroutine(stream_chat(base_url, key, prompt, receive))
    await enough
    stream.cancel()
    stream.addErrback(lambda failure: failure.trap(CancelledError))
    return received[:pieces]


def main(reactor: Any, base_url: str, key: str, prompt: str) -> "Deferred[None]":
    async def run() -> None:
        def show(text: str) -> None:
            print(text, end="", flush=True)

        await stream_chat(base_url, key, prompt, show)
        print("\n\n… and the first ten pieces of another:")
        print("".join(await stream_some(base_url, key, prompt, 10)))

    return Deferred.fromCoroutine(run())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: treq_client.py BASE_URL KEY PROMPT")
    react(main, sys.argv[1:])
