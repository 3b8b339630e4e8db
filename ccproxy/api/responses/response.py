"""Encodes a finished answer as one response document. Pure."""

from collections.abc import Iterator, Sequence

from ccproxy.api.responses.stream import ResponseStream
from ccproxy.core.encoding import WireEvent, encode_json
from ccproxy.core.errors import CCProxyError
from ccproxy.core.message_builder import BuiltBlock, MessageBuilder
from ccproxy.core.messages import Text, Thinking, ToolUse
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Finished,
    InputJSONDelta,
    Receiver,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)


class ResponseDocument:
    """Collects the answer to one request that is not streamed.

    Its stream is made at the end, for clients that fetch the stored response as one.
    A restart of the provider's answer is never seen in it.

    Attributes:
        wire_events: that stream, without its end.
    """

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream
        self._message = MessageBuilder()
        self.wire_events: Sequence[WireEvent] = ()

    @property
    def is_over(self) -> bool:
        """Whether there is a whole answer, or an error."""
        return self._message.is_over

    @property
    def error(self) -> CCProxyError | None:
        """Why there will be no answer."""
        return self._message.error

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it has."""
        return self._message.model

    @property
    def usage(self) -> Usage:
        """The answer's, once it is over."""
        return self._stream.usage

    @property
    def receivers(self) -> Sequence[Receiver]:
        """`receive`: there is one answer."""
        return (self.receive,)

    def receive(self, events: Sequence[Event]) -> None:
        """Take events."""
        self._message.receive(events)
        end = self._message.finished
        if end is not None:
            self.wire_events = self._stream.encode([*_events(self._message, end)])

    def encode(self) -> bytes:
        """The response; only without an error, once over."""
        return encode_json(self._stream.response)


def _events(message: MessageBuilder, end: Finished) -> Iterator[Event]:
    """The message as the events of a stream: at most one delta of each kind a block."""
    for index, part in enumerate(message.parts):
        if not isinstance(part, BuiltBlock):
            yield part
            continue
        yield ContentBlockStart(part.block, index)
        match part.block.value:
            case Text(text) if text:
                yield TextDelta(text, index)
            case Thinking(thinking, signature):
                if thinking:
                    yield ThinkingDelta(thinking, index)
                if signature:
                    yield SignatureDelta(signature, index)
            case ToolUse() if part.arguments:
                yield InputJSONDelta(part.arguments, index)
    yield end
