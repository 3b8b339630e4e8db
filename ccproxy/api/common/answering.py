"""From a question to the answer on the wire, of the APIs that keep nothing."""

from twisted.internet.interfaces import IReactorTime

from ccproxy.core.question import PreparedQuestion
from ccproxy.web.backend import Backend, Collector, collect
from ccproxy.web.context import RequestContext
from ccproxy.web.event_stream import EventStream, StreamEncoder
from ccproxy.web.replies import json_response, set_queue_header


class CompletionRunner:
    """Puts questions, and sends what comes of them."""

    def __init__(self, backend: Backend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock

    async def stream(
        self,
        context: RequestContext,
        question: PreparedQuestion,
        encoder: StreamEncoder,
    ) -> None:
        """Ask, and stream until the end.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        stream = EventStream(context.request, encoder, self._clock, context.stats)
        with context.following(encoder), context.streaming():
            await stream.run(self._backend, question)

    async def document(
        self,
        context: RequestContext,
        question: PreparedQuestion,
        collector: Collector,
    ) -> bytes:
        """Ask; the body, once the answer is whole.

        Raises:
            CCProxyError: it never will be.
        """
        with context.following(collector):
            queued = await collect(self._backend, question, collector, context.stats)
        set_queue_header(context.request, queued)
        return json_response(context.request, collector.encode())
