"""From a prompt to the answer on the wire, of the APIs that keep nothing."""

from twisted.internet.interfaces import IReactorTime

from ccproxy.conversation import Prompt
from ccproxy.web.backend import Backend, Collector, collect
from ccproxy.web.event_stream import EventStream, StreamEncoder
from ccproxy.web.exchange import Exchange
from ccproxy.web.response import json_response, tell_queue


class Answering:
    """Puts questions, and sends what comes of them."""

    def __init__(self, backend: Backend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock

    async def stream(
        self,
        exchange: Exchange,
        prompt: Prompt,
        encoder: StreamEncoder,
        *,
        choices: int = 1,
    ) -> None:
        """Ask, and stream until the end.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        stream = EventStream(exchange.request, encoder, self._clock, exchange.receipt)
        with exchange.following(encoder), exchange.streaming():
            await stream.run(self._backend, prompt, choices)

    async def document(
        self,
        exchange: Exchange,
        prompt: Prompt,
        collector: Collector,
        *,
        choices: int = 1,
    ) -> bytes:
        """Ask; the body, once the answer is whole.

        Raises:
            CCProxyError: it never will be.
        """
        with exchange.following(collector):
            queued = await collect(
                self._backend, prompt, choices, collector, exchange.receipt
            )
        tell_queue(exchange.request, queued)
        return json_response(exchange.request, collector.encode())
