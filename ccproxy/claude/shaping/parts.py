"""Joins the parts of an answer to one stream of events. Pure.

A part is the answer to one request to the provider. The second part continues the
first part: its `MessageStart` is not passed on, and the numbers of its blocks follow
those of the first part. But if the first part was declared void by a `Restarted`, the
second part begins a new message.
"""

from abc import abstractmethod
from collections.abc import Sequence

from attrs import evolve
from typing_extensions import override

from ccproxy.claude.body.result import ALL_PARTS
from ccproxy.claude.shaping.shaper import AnswerShaper, ComposeAgain
from ccproxy.core.blocks import Block, RedactedThinking
from ccproxy.core.message_builder import MessageBuilder
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

# The types of events that belong to a block, and have its index.
BLOCK_EVENTS = (
    ContentBlockStart,
    ContentBlockStop,
    TextDelta,
    ThinkingDelta,
    SignatureDelta,
    InputJSONDelta,
    OpaqueDelta,
)


class AnswerParts:
    """The parts of an answer, and the events that were passed on.

    Args:
        signed: how many parts keep the signatures of their thinking.

    Attributes:
        number: the number of the current part, from 0.
    """

    def __init__(self, signed: int = ALL_PARTS) -> None:
        self.number = 0
        self._signed = signed
        # The index of a redacted thinking block that is being left out.
        self._left_out: int | None = None
        self._builder = MessageBuilder()
        self._start: MessageStart | None = None
        # The number of blocks of earlier parts.
        self._offset = 0
        self._next_index = 0
        self._has_started = False
        self._has_passed_blocks = False

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the current part so far."""
        return self._builder.blocks

    @property
    def text(self) -> str:
        """The text of the current part so far."""
        return self._builder.text

    def record(self, event: Event) -> None:
        """Record an event of the model."""
        if isinstance(event, MessageStart):
            # An earlier message of the same part is void.
            self._builder = MessageBuilder()
            self._start = event
        self._builder.receive([event])

    def renumber(self, events: Sequence[Event]) -> list[Event]:
        """Number events for the client, and leave out events that it must not get."""
        passed: list[Event] = []
        for event in events:
            if self.number >= self._signed and self._is_signature(event):
                continue
            match event:
                case MessageStart():
                    if self._has_started:
                        continue
                    self._has_started = True
                    passed.append(event)
                case Restarted():
                    passed += self._restart(event)
                case _ if isinstance(event, BLOCK_EVENTS):
                    index = event.index + self._offset
                    self._next_index = max(self._next_index, index + 1)
                    self._has_passed_blocks = True
                    passed.append(evolve(event, index=index) if self._offset else event)
                case _:
                    passed.append(event)
        return passed

    def _is_signature(self, event: Event) -> bool:
        """Whether an event belongs to a signature or to redacted thinking."""
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
        if self.number and not self._has_passed_blocks:
            # The client has received no block of the void part.
            return []
        self._offset = self._next_index = 0
        self._has_started = self._has_passed_blocks = False
        return [event]

    def void(self, why: str) -> list[Event]:
        """Declare the events that were passed on void; a new message follows."""
        self._offset = self._next_index = 0
        self._has_started = self._has_passed_blocks = False
        return [Restarted(why)]

    def restart_message(self, why: str) -> list[Event]:
        """Declare the message void, and begin to pass it on again."""
        start = self._start
        return [*self.void(why), *self.renumber([start] if start is not None else [])]

    def begin_next_part(self) -> None:
        """Begin the next part: a second request is sent."""
        self.number += 1
        self._offset = self._next_index
        self._has_passed_blocks = False
        self._builder = MessageBuilder()


class PartsShaper(AnswerShaper):
    """A shaper whose answer may have a second part.

    Args:
        again: composes the second request.
        signed: how many parts keep the signatures of their thinking.
    """

    def __init__(self, again: ComposeAgain, signed: int = ALL_PARTS) -> None:
        self._again = again
        self._parts = AnswerParts(signed)

    @override
    def filter(self, events: Sequence[Event]) -> list[Event]:
        self.pending = None
        passed: list[Event] = []
        for event in events:
            self._parts.record(event)
            passed += self._take(event)
        return passed

    @abstractmethod
    def _take(self, event: Event) -> list[Event]:
        """The events to pass on for one event of the model."""
