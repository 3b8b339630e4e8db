"""An answer of several parts as one: what was told of each, and under which numbers.

A part is the answer to one question upstream. The second part goes on where the first
has ended: its beginning is not told, and its blocks are numbered behind those that the
client knows of, unless the first part was declared void.

Pure.
"""

from collections.abc import Sequence

from attrs import evolve

from ccproxy.claude.body.result import ALL_PARTS
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.messages import Block, RedactedThinking
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)

_NUMBERED = (
    ContentBlockStart,
    ContentBlockStop,
    TextDelta,
    ThinkingDelta,
    SignatureDelta,
    InputJSONDelta,
    OpaqueDelta,
)


class AnswerParts:
    """What the client knows of an answer.

    Args:
        signed: how many parts keep the signatures of their thinking.

    Attributes:
        number: of the part that comes, from 0.
    """

    def __init__(self, signed: int = ALL_PARTS) -> None:
        self.number = 0
        self._signed = signed
        # Redacted thinking that is being left out.
        self._left_out: int | None = None
        self._builder = MessageBuilder()
        self._start: MessageStart | None = None
        # Behind the blocks of earlier parts.
        self._offset = 0
        self._next_index = 0
        self._has_started = False
        self._has_told_blocks = False

    @property
    def said(self) -> tuple[Block, ...]:
        """What the model has said in this part so far."""
        return self._builder.blocks

    @property
    def text(self) -> str:
        """What it has said in blocks of text."""
        return self._builder.text

    def take(self, event: Event) -> None:
        """Note what the model says."""
        if isinstance(event, MessageStart):
            # Only the last message counts; one before it was given up.
            self._builder = MessageBuilder()
            self._start = event
        self._builder.receive([event])

    def tell(self, events: Sequence[Event]) -> list[Event]:
        """The events as the client is told them."""
        told: list[Event] = []
        for event in events:
            if self.number >= self._signed and self._is_signature(event):
                continue
            match event:
                case MessageStart():
                    if self._has_started:
                        continue
                    self._has_started = True
                    told.append(event)
                case Restarted():
                    told += self._restart(event)
                case _ if isinstance(event, _NUMBERED):
                    index = event.index + self._offset
                    self._next_index = max(self._next_index, index + 1)
                    self._has_told_blocks = True
                    told.append(evolve(event, index=index) if self._offset else event)
                case _:
                    told.append(event)
        return told

    def _is_signature(self, event: Event) -> bool:
        """Whether an event tells what only the provider can read of thinking."""
        match event:
            case SignatureDelta():
                return True
            case ContentBlockStart(block, index) if isinstance(
                block.value, RedactedThinking
            ):
                self._left_out = index
                return True
            case ContentBlockStop(index) if index == self._left_out:
                self._left_out = None
                return True
        return False

    def _restart(self, event: Restarted) -> list[Event]:
        if self.number and not self._has_told_blocks:
            # The client knows of nothing that is void now.
            return []
        self._offset = self._next_index = 0
        self._has_started = self._has_told_blocks = False
        return [event]

    def void(self, why: str) -> list[Event]:
        """Take back all that was told; the next message begins anew."""
        self._offset = self._next_index = 0
        self._has_started = self._has_told_blocks = False
        return [Restarted(why)]

    def begin_again(self, why: str) -> list[Event]:
        """Take back all that was told of the message, and begin to tell it anew."""
        start = self._start
        return [*self.void(why), *self.tell([start] if start is not None else [])]

    def next_part(self) -> None:
        """Note that the question is asked once more."""
        self.number += 1
        self._offset = self._next_index
        self._has_told_blocks = False
        self._builder = MessageBuilder()
