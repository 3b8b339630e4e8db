"""Responses: events to one document. Pure."""

from collections.abc import Sequence

from ccproxy.api.responses.stream import ResponseStream
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    MessageStart,
    Restarted,
    Usage,
)
from ccproxy.web.sse import WireEvent


class ResponseDocument:
    """Collects the answer to one request that is not streamed.

    Unlike a stream it can take back what was cut off and begun anew.

    Attributes:
        wire_events: the stream that it would have been, without its end.
    """

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream
        self._events: list[Event] = []
        self._message_begins = 0
        self.wire_events: Sequence[WireEvent] = ()
        self.error: CCProxyError | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is a whole answer, or an error."""
        return self.error is not None or self._stream.is_over

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it has."""
        return self._stream.model

    @property
    def usage(self) -> Usage:
        """The answer's, once it is over."""
        return self._stream.usage

    def receive(self, choice: int, events: Sequence[Event]) -> None:
        """Take events."""
        for event in events:
            match event:
                case MessageStart():
                    self._message_begins = len(self._events)
                case Restarted():
                    del self._events[self._message_begins :]
                    continue
                case Failed(error):
                    self.error = error
            self._events.append(event)
            if isinstance(event, Finished):
                self.wire_events = self._stream.encode(choice, self._events)

    def encode(self) -> bytes:
        """The response; only without an error, once over."""
        return encode_json(self._stream.response)
