"""Joins the parts of an answer that the provider pauses. Pure.

=====================  ==============================================================
event                  what is passed on
=====================  ==============================================================
the first              the event
``MessageStart``
a later                nothing: the message goes on
``MessageStart``
an event of a block    the event, with the number of the block in the whole message
the end ``pause_turn`` nothing: `Pauses.body` is the request that continues the
                       answer; after `MOST_PAUSES`, the event
any other end          the event, with the usage of this part only
``Restarted``          in the first part: the event. In a later part: nothing if no
                       block of this part was passed on, else a failure, because the
                       earlier parts cannot be declared void
=====================  ==============================================================

Source: rule 34 of the Messages API.
"""

from collections.abc import Sequence

from attrs import evolve

from ccproxy.claude.body.continued import continued
from ccproxy.claude.body.result import ComposedBody
from ccproxy.core.errors import Cause, ClaudeFailed
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)

# How often an answer may be continued.
MOST_PAUSES = 10
_PAUSED = "pause_turn"
_NUMBERED = (
    ContentBlockStart,
    ContentBlockStop,
    TextDelta,
    ThinkingDelta,
    SignatureDelta,
    InputJSONDelta,
    OpaqueDelta,
)


class Pauses:
    """The parts of one message.

    Args:
        body: the body of the request.

    Attributes:
        body: the body of the next request if the answer is paused; otherwise the body
            of the last request.
        is_paused: whether the answer was paused, and `body` continues it.
    """

    def __init__(self, body: ComposedBody) -> None:
        self.body = body
        self.is_paused = False
        self._first_body = body
        self._builder = MessageBuilder()
        self._count = 0
        self._used_tokens = 0
        # The number of blocks of the earlier parts, and of all parts so far.
        self._offset = self._next_index = 0

    def filter(self, events: Sequence[Event]) -> list[Event]:
        """The events to pass on."""
        self.is_paused = False
        passed: list[Event] = []
        for event in events:
            for numbered in self._numbered(event):
                self._builder.receive([numbered])
                if isinstance(numbered, Finished) and self._pause(numbered):
                    continue
                passed.append(numbered)
                if isinstance(numbered, Failed):
                    return passed
        return passed

    def _numbered(self, event: Event) -> Sequence[Event]:
        match event:
            case MessageStart() if self._count:
                return ()
            case Restarted(why) if self._count:
                if self._next_index == self._offset:
                    return ()
                words = f"{why}, after the provider had paused it; try again"
                return [Failed(ClaudeFailed(words, cause=Cause.RESTART_DIFFERS))]
            case MessageStart() | Restarted():
                self._next_index = 0
            case _ if isinstance(event, _NUMBERED):
                index = event.index + self._offset
                self._next_index = max(self._next_index, index + 1)
                return [evolve(event, index=index) if self._offset else event]
        return [event]

    def _pause(self, end: Finished) -> bool:
        """Prepare the request that continues the answer; False: there is none."""
        self._used_tokens += end.usage.output_tokens
        if end.stop_reason != _PAUSED or self._count == MOST_PAUSES:
            return False
        blocks = self._builder.blocks
        body = continued(self._first_body, blocks, self._used_tokens)
        if body is None:
            return False
        self.body = body
        self.is_paused = True
        self._count += 1
        self._offset = self._next_index
        return True
