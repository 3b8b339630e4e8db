"""Messages API: events to a stream of server-sent ones. Pure.

Order of a stream: ``message_start``, ``ping``; each block's ``content_block_start``,
deltas and ``content_block_stop``, one after the other, counted from 0;
``message_delta`` with the stop reason and the usage; ``message_stop``. Or, at any place
after the start, ``error`` as the last thing.

Source: "Streaming messages" in the Messages API's documentation; the accumulation of
anthropic-python 2.14.
"""

from collections.abc import Sequence

import msgspec

from ccproxy.dialects.agent_tools import agent_line
from ccproxy.dialects.encoding import encode_json
from ccproxy.dialects.messages_error import anthropic_error
from ccproxy.dialects.messages_request import ThinkingForm
from ccproxy.dialects.messages_structs import (
    Block,
    Heading,
    Message,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    stop_of,
    usage_of,
)
from ccproxy.dialects.replay import Replay
from ccproxy.errors import CCProxyError
from ccproxy.events import (
    AgentToolUsed,
    Event,
    Failed,
    Finished,
    MessageStarted,
    RedactedThinking,
    Restarted,
    TextDelta,
    ThinkingDelta,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
)
from ccproxy.events import Usage as TokenUsage

# No JSON text has a NUL in it, so it marks where a delta's text goes.
_MARK = b"\0"

_PLAIN = ThinkingForm()


class MessageStream:
    """Encodes an answer that is streamed, as server-sent events.

    Args:
        thinking: what the client is shown of it.
    """

    def __init__(self, heading: Heading, thinking: ThinkingForm = _PLAIN) -> None:
        self._heading = heading
        self._thinking = thinking
        self._replay = Replay()
        self._end: Finished | None = None
        self._has_begun = False
        self._resumes = False
        self._open: Block | None = None
        self._index = -1
        self._head = self._tail = b""
        self.error: CCProxyError | None = None
        self.model = ""

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""
        return self.error is not None or self._end is not None

    @property
    def usage(self) -> TokenUsage:
        """What the answer cost, once it is over."""
        return TokenUsage() if self._end is None else self._end.usage

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The bytes that events mean to the client; maybe none.

        An answer that failed sets ``error``: whoever has not sent anything yet can
        still tell it by an HTTP status instead of the bytes.
        """
        frames: list[bytes] = []
        for event in events:
            self._resumes = self._resumes or isinstance(event, Restarted)
            for told in self._replay.filter((event,)):
                if not self.is_over:
                    frames += self._told(told)
        return b"".join(frames)

    def _told(self, event: Event) -> list[bytes]:
        match event:
            case TextDelta(text):
                is_open = isinstance(self._open, TextBlock)
                before = [] if is_open else self._begin(TextBlock())
                return [*before, self._head, encode_json(text), self._tail]
            case ThinkingDelta() | ThinkingSigned() | RedactedThinking():
                return self._thought(event) if self._thinking.is_shown else []
            case AgentToolUsed() if self._thinking.is_shown:
                line = {"type": "thinking_delta", "thinking": agent_line(event)}
                begun = self._begin(ThinkingBlock())
                return [*begun, self._delta(line), *self._close()]
            case ToolCallStarted(identifier, name):
                return self._begin(ToolUseBlock(identifier, name, {}))
            case ToolCallDelta(json) if isinstance(self._open, ToolUseBlock):
                delta = {"type": "input_json_delta", "partial_json": json}
                return [self._delta(delta)]
            case MessageStarted(model, usage):
                return self._message(model, usage)
            case Finished():
                return self._finish(event)
            case Failed(error):
                self.error = error
                data = anthropic_error(error, self._heading.request_id)
                return [b"event: error\ndata: ", data, b"\n\n"]
        return []

    def _message(self, model: str, usage: TokenUsage) -> list[bytes]:
        if not self._has_begun:
            return self._start(model, usage)
        if self._resumes:
            # What goes on is the block that the connection was lost in.
            self._resumes = False
            return []
        # Claude Code has used a tool of its own, and the model goes on.
        return self._close()

    def _start(self, model: str, usage: TokenUsage) -> list[bytes]:
        self._has_begun, self._resumes = True, False
        self.model = model
        message = Message(
            id=self._heading.id, model=model, content=[], usage=usage_of(usage)
        )
        return [_frame("message_start", message=message), _frame("ping")]

    def _start_late(self) -> list[bytes]:
        return [] if self._has_begun else self._start(self.model, TokenUsage())

    def _thought(
        self, event: ThinkingDelta | ThinkingSigned | RedactedThinking
    ) -> list[bytes]:
        if isinstance(event, RedactedThinking):
            return [*self._begin(RedactedThinkingBlock(event.data)), *self._close()]
        is_open = isinstance(self._open, ThinkingBlock)
        frames = [] if is_open else self._begin(ThinkingBlock())
        if isinstance(event, ThinkingSigned):
            delta = {"type": "signature_delta", "signature": event.signature}
            return [*frames, self._delta(delta), *self._close()]
        if self._thinking.has_text:
            delta = {"type": "thinking_delta", "thinking": event.text}
            frames.append(self._delta(delta))
        return frames

    def _begin(self, block: Block) -> list[bytes]:
        frames = [*self._start_late(), *self._close()]
        self._open = block
        self._index += 1
        told = _frame("content_block_start", index=self._index, content_block=block)
        if isinstance(block, TextBlock):
            delta = {"type": "text_delta", "text": msgspec.Raw(_MARK)}
            self._head, _, self._tail = self._delta(delta).partition(_MARK)
        return [*frames, told]

    def _close(self) -> list[bytes]:
        if self._open is None:
            return []
        self._open = None
        return [_frame("content_block_stop", index=self._index)]

    def _delta(self, delta: object) -> bytes:
        return _frame("content_block_delta", index=self._index, delta=delta)

    def _finish(self, end: Finished) -> list[bytes]:
        self._end = end
        reason, sequence = stop_of(end)
        stop = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None}
        return [
            *self._start_late(),
            *self._close(),
            _frame("message_delta", delta=stop, usage=usage_of(end.usage)),
            _frame("message_stop"),
        ]


def _frame(kind: str, **data: object) -> bytes:
    encoded = encode_json({"type": kind, **data})
    return b"event: " + kind.encode() + b"\ndata: " + encoded + b"\n\n"
