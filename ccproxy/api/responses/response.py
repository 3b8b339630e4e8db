"""Encodes a finished answer as one response document. Pure."""

from collections.abc import Iterator, Sequence

from ccproxy.api.responses.stream import ResponseStream
from ccproxy.core.blocks import Text, Thinking, ToolUse
from ccproxy.core.encoding import WireEvent, encode_json
from ccproxy.core.message_builder import AnswerCollector, BuiltBlock, MessageBuilder
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Finished,
    InputJSONDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)


class ResponseDocument(AnswerCollector):
    """Collects the answer to one request that is not streamed.

    Its stream is made at the end, for clients that fetch the stored response as one.
    A restart of the provider's answer is never seen in it.

    Attributes:
        wire_events: that stream, without its end.
    """

    def __init__(self, stream: ResponseStream) -> None:
        super().__init__()
        self._stream = stream
        self.receivers = [self.receive]
        self.wire_events: Sequence[WireEvent] = ()

    def receive(self, events: Sequence[Event]) -> None:
        """Take events."""
        [message] = self.messages
        message.receive(events)
        end = message.finished
        if end is not None:
            self.wire_events = self._stream.encode([*_events(message, end)])

    def encode(self) -> bytes:
        """Encode the response; only after the answer ended without error."""
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
