"""Messages API: events to one message. Pure.

Source: ``Message`` of anthropic-python 2.14.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ccproxy.dialects.agent_tools import agent_line
from ccproxy.dialects.encoding import encode_json
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
from ccproxy.errors import CCProxyError
from ccproxy.events import (
    AgentToolUsed,
    Event,
    Failed,
    Finished,
    FinishReason,
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

_PLAIN = ThinkingForm()
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class MessageDocument:
    """Collects an answer that is not streamed.

    Args:
        thinking: what the client is shown of it.
    """

    def __init__(self, heading: Heading, thinking: ThinkingForm = _PLAIN) -> None:
        self._heading = heading
        self._thinking = thinking
        self._end: Finished | Failed | None = None
        self._blocks: list[_Piece] = []
        self._before = 0
        self.model = ""

    @property
    def is_over(self) -> bool:
        """Whether there is a whole answer, or an error."""
        return self._end is not None

    @property
    def error(self) -> CCProxyError | None:
        """Why there will be no answer."""
        return self._end.error if isinstance(self._end, Failed) else None

    @property
    def usage(self) -> TokenUsage:
        """What the answer cost."""
        return self._end.usage if isinstance(self._end, Finished) else TokenUsage()

    def receive(self, choice: int, events: Sequence[Event]) -> None:
        """Take events; there is one choice."""
        for event in events:
            match event:
                case MessageStarted(model):
                    self.model = model
                    self._before = len(self._blocks)
                case Restarted():
                    del self._blocks[self._before :]
                case Finished() | Failed():
                    self._end = event
                case _:
                    self._add(event)

    def _add(self, event: Event) -> None:
        last = self._blocks[-1] if len(self._blocks) > self._before else None
        match event:
            case TextDelta(text):
                if last is None or not isinstance(last.block, TextBlock):
                    last = self._open(TextBlock())
                last.parts.append(text)
            case ThinkingDelta() | ThinkingSigned() | RedactedThinking() if (
                not self._thinking.is_shown
            ):
                pass
            case ThinkingDelta(text):
                last = self._thought(last)
                last.parts.append(text if self._thinking.has_text else "")
            case ThinkingSigned(signature):
                self._thought(last).signature = signature
            case RedactedThinking(data):
                self._open(RedactedThinkingBlock(data))
            case AgentToolUsed() if self._thinking.is_shown:
                aside = self._open(ThinkingBlock())
                aside.parts.append(agent_line(event))
                aside.signature = ""
            case ToolCallStarted(identifier, name):
                self._open(ToolUseBlock(identifier, name, {}))
            case ToolCallDelta(json) if last and isinstance(last.block, ToolUseBlock):
                last.parts.append(json)

    def _open(self, block: Block) -> "_Piece":
        piece = _Piece(block)
        self._blocks.append(piece)
        return piece

    def _thought(self, last: "_Piece | None") -> "_Piece":
        """The block of thinking that goes on, or a new one."""
        if (
            last is not None
            and isinstance(last.block, ThinkingBlock)
            and last.signature is None
        ):
            return last
        return self._open(ThinkingBlock())

    def encode(self) -> bytes:
        """The message; only without an error, once over."""
        end = self._end if isinstance(self._end, Finished) else None
        reason, sequence = stop_of(end)
        has_called = _has_called(end)
        blocks = [piece.whole(are_calls_whole=has_called) for piece in self._blocks]
        return encode_json(
            Message(
                id=self._heading.id,
                model=self.model,
                content=[block for block in blocks if block is not None],
                stop_reason=reason,
                stop_sequence=sequence,
                usage=usage_of(self.usage),
            )
        )


class _Piece:
    """A block with the pieces that it is made of."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.parts: list[str] = []
        self.signature: str | None = None

    def whole(self, *, are_calls_whole: bool) -> Block | None:
        """The block; None: a call that was cut off, which nobody may take for one."""
        joined = "".join(self.parts)
        match self.block:
            case TextBlock():
                self.block.text = joined
            case ThinkingBlock():
                self.block.thinking = joined
                self.block.signature = self.signature or ""
            case ToolUseBlock() if joined or not are_calls_whole:
                try:
                    self.block.input = _decode_object(joined)
                except (msgspec.DecodeError, RecursionError):
                    return None
        return self.block


def _has_called(end: Finished | None) -> bool:
    return end is not None and end.reason is FinishReason.TOOL_USE
