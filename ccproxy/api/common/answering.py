"""Sends a request to the backend, and its answers to the client."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from ccproxy.core.backend import Backend, PreparedQuestion
from ccproxy.core.encoding import WireEvent
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import Receiver, Usage
from ccproxy.web.completion_group import CompletionGroup
from ccproxy.web.context import RequestContext
from ccproxy.web.event_stream import EventStream, StreamEncoder
from ccproxy.web.replies import json_response, set_queue_header


class Collector(Protocol):
    """Makes the document of one API's answer."""

    @property
    def is_over(self) -> bool:
        """Whether the document is complete, or has failed."""

    @property
    def error(self) -> CCProxyError | None:
        """The error that ended the answer."""

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""

    @property
    def usage(self) -> Usage:
        """The usage of the answer, once it is over."""

    @property
    def receivers(self) -> Sequence[Receiver]:
        """One receiver for each answer; most requests have one answer."""


class DocumentEncoder(Collector, Protocol):
    """A `Collector` that encodes its document."""

    def encode(self) -> bytes:
        """The document; only without an error, once over."""


class CompletionRunner:
    """Sends requests to the backend, and answers to clients.

    Args:
        backend: answers the requests.
        clock: times the keep-alive comments of streams.
    """

    def __init__(self, backend: Backend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock

    async def stream(
        self,
        context: RequestContext,
        question: PreparedQuestion,
        encoder: StreamEncoder,
        *,
        conclude: Callable[[], Awaitable[Sequence[WireEvent]]] | None = None,
        record: Callable[[Sequence[WireEvent]], None] | None = None,
    ) -> None:
        """Send the request, and stream its answers until the end; see `EventStream`.

        Raises:
            CCProxyError: the request failed before anything was sent.
        """
        stream = EventStream(
            context.request,
            encoder,
            self._clock,
            context.stats,
            conclude=conclude,
            record=record,
        )
        with context.following(encoder), context.streaming():
            await stream.run(self._backend, question)

    async def collect(
        self, context: RequestContext, question: PreparedQuestion, collector: Collector
    ) -> None:
        """Send the request, and wait until its answers are over.

        When this is cancelled, because the client has disconnected, or when one of
        several answers fails, all answers are cancelled.

        Raises:
            CCProxyError: an answer failed.
        """
        group = CompletionGroup(
            collector.receivers, lambda: collector.is_over, context.stats
        )
        with context.following(collector):
            await group.run(self._backend, question)
        if collector.error is not None:
            raise collector.error
        set_queue_header(context.request, group.queued_seconds)

    async def document(
        self,
        context: RequestContext,
        question: PreparedQuestion,
        collector: DocumentEncoder,
    ) -> bytes:
        """Send the request; returns the document when the answer is over.

        Raises:
            CCProxyError: an answer failed.
        """
        await self.collect(context, question, collector)
        return json_response(context.request, collector.encode())
