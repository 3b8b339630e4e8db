"""Short ways to write the events of an answer."""

from ccproxy.core.messages import Block, redacted_thinking_block
from ccproxy.core.stream import ContentBlockStart


def call_start(identifier: str, name: str, index: int = 0) -> ContentBlockStart:
    """The model begins to call a tool."""
    block = Block.make("tool_use", id=identifier, name=name, input={})
    return ContentBlockStart(block, index)


def redacted_start(data: str, index: int = 0) -> ContentBlockStart:
    """A whole block of thinking that only its provider can read."""
    return ContentBlockStart(redacted_thinking_block(data), index)
