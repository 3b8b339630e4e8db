"""Short ways to write the events of an answer."""

from collections.abc import Iterable, Iterator

from attrs import evolve

from ccproxy.core.blocks import (
    Block,
    redacted_thinking_block,
    text_block,
    thinking_block,
)
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    MessageStart,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)

# Of blocks that a test begins in a few words; the others count from 0.
_FIRST_INDEX = 1000
_EMPTY = {"text": text_block(""), "thinking": thinking_block("", "")}


def call_start(identifier: str, name: str, index: int = 0) -> ContentBlockStart:
    """The start of a tool call."""
    block = Block.make("tool_use", id=identifier, name=name, input={})
    return ContentBlockStart(block, index)


def redacted_start(data: str, index: int = 0) -> ContentBlockStart:
    """A whole block of redacted thinking."""
    return ContentBlockStart(redacted_thinking_block(data), index)


def in_blocks(events: Iterable[Event]) -> Iterator[Event]:
    """The events, with blocks added around bare deltas of text and thinking.

    In an answer every delta is within a block; tests of streams leave that out.
    """
    begun: dict[int, str] = {}
    own: str | None = None
    index = _FIRST_INDEX
    for event in events:
        match event:
            case ContentBlockStart(block):
                begun[event.index] = block.type
                own = None
            case ContentBlockStop():
                begun.pop(event.index, None)
            case MessageStart() | Restarted():
                begun.clear()
                own = None
            case TextDelta() | ThinkingDelta() | SignatureDelta():
                kind = "text" if isinstance(event, TextDelta) else "thinking"
                if begun.get(event.index) != kind:
                    if own != kind:
                        index += 1
                        own = kind
                        yield ContentBlockStart(_EMPTY[kind], index)
                    if isinstance(event, SignatureDelta):
                        own = None
                    event = evolve(event, index=index)
        yield event
