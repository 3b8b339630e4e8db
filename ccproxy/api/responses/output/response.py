"""Encodes an answer that is not streamed as a response document. Pure."""

from collections.abc import Iterator, Sequence

from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.blocks import Text, Thinking, ToolUse
from ccproxy.core.encoding import WireEvent
from ccproxy.core.message_builder import AnswerCollector, BuiltBlock, MessageBuilder
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Finished,
    InputJSONDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)


class ResponseDocument(AnswerCollector):
    """Collects the answer to a request that is not streamed.

    When the answer is complete, the events of a stream are made from it, because a
    client can fetch the stored response as a stream.

    Args:
        stream: encodes the events.

    Attributes:
        wire_events: the events of the stream, without the end.
    """

    def __init__(self, stream: ResponseStream) -> None:
        super().__init__()
        self._stream = stream
        self.receivers = [self.receive]
        self.wire_events: Sequence[WireEvent] = ()

    def receive(self, events: Sequence[Event]) -> None:
        """Collect events of the answer."""
        [message] = self.messages
        message.receive(events)
        end = message.finished
        if end is not None:
            self.wire_events = self._stream.encode([*_events(message, end)])

    def encode(self) -> bytes:
        """Encode the response. The answer must have ended without error."""
        return self._stream.response.encode()


def _events(message: MessageBuilder, end: Finished) -> Iterator[Event]:
    """Make stream events from a complete message; a block's text is one delta."""
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
        yield ContentBlockStop(index)
    yield end
