"""The model's answer as the CLI keeps it in its conversation. Pure.

It is kept only if it is known word for word: one message, streamed from its beginning
to its end, without anything of the CLI's own in between.
"""

from typing import Any

import msgspec
from attrs import define, field

from ccproxy.claude.protocol.records import (
    AssistantMessage,
    ContentBlock,
    Record,
    SSEEvent,
    StreamEvent,
    UserMessage,
)
from ccproxy.conversation import (
    Block,
    Message,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    is_blank,
)

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@define
class _Part:
    """A block that comes in pieces."""

    block: ContentBlock
    pieces: list[str] = field(factory=list)
    signature: str = ""

    def whole(self, model: str) -> Block | None:
        """The block; None: it is of no kind that we know, or not what was said."""
        text = "".join(self.pieces)
        block = self.block
        match block.type:
            case "text" if not is_blank(text):
                return TextBlock(text)
            case "thinking" if self.signature:
                return ThinkingBlock(text, self.signature, model)
            case "redacted_thinking" if block.data:
                return RedactedThinkingBlock(block.data, model)
            case "tool_use" if block.id and block.name:
                try:
                    arguments = _decode_object(text or "{}")
                except msgspec.DecodeError:
                    return None
                return ToolUseBlock(block.id, block.name, arguments)
        return None


class Recording:
    """Notes one answer.

    Args:
        after: the id of the message before, whose end may still come.
    """

    def __init__(self, after: str | None = None) -> None:
        self._after = after
        self._id: str | None = None
        self._model = ""
        self._parts: list[_Part] = []
        self._is_exact = True

    def receive(self, record: Record) -> None:
        """Take a record of the turn."""
        match record:
            case StreamEvent(parent_tool_use_id=None):
                self._streamed(record.event)
            case AssistantMessage(parent_tool_use_id=None):
                if record.message.id not in (self._id, self._after):
                    self._is_exact = False
            case UserMessage() if self._id is not None:
                self._is_exact = False

    def _streamed(self, event: SSEEvent) -> None:
        match event.type:
            case "content_block_delta" if event.delta is not None and self._parts:
                part, delta = self._parts[-1], event.delta
                part.signature += delta.signature or ""
                piece = delta.text or delta.thinking or delta.partial_json
                if piece:
                    part.pieces.append(piece)
                elif piece is None and delta.signature is None:
                    # A citation, say: the CLI keeps what we cannot read.
                    self._is_exact = False
            case "message_start" if event.message is not None:
                self._is_exact = self._is_exact and self._id is None
                self._id, self._model = event.message.id, event.message.model
            case "content_block_start" if event.content_block is not None:
                self._parts.append(_Part(event.content_block))

    def message(self) -> Message | None:
        """The answer; None: not known exactly."""
        if not self._is_exact:
            return None
        blocks = [part.whole(self._model) for part in self._parts]
        known = [block for block in blocks if block is not None]
        if not known or len(known) < len(blocks):
            return None
        return Message(Role.ASSISTANT, tuple(known))
