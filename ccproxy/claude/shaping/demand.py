"""Enforces a required tool call that only a text in the prompt asks for. Pure.

=======  ===========================  ================================================
state    input                        passed on; next state
=======  ===========================  ================================================
OPEN     any event but text, call     the event
         and end
OPEN     text, or another call        nothing, the event is held back: HELD
HELD     any other event              nothing, the event is held back
any      the required call            the held events without text, then the call:
                                      CALLED
CALLED   any event                    the event
OPEN,    the end, cut short           the held events, then the end
HELD
OPEN,    the end of the first part    nothing; a second request: OPEN
HELD
OPEN,    the end of the second part   the first part's text, then the end; the held
HELD                                  events instead of the text if there was no text,
                                      or if the second part has another call
=======  ===========================  ================================================

A part is the answer to one request to the provider.

Where a provider enforces a call, the model writes no text before the call. Clients rely
on this: some take text as the answer, and then fail.

Source: rule 29 of the Messages API; "Forcing tool use" in Anthropic's documentation.
"""

from collections.abc import Collection, Sequence
from enum import Enum, auto

from typing_extensions import override

from ccproxy.claude.body.result import ALL_PARTS
from ccproxy.claude.body.tools import call_request
from ccproxy.claude.shaping.parts import BLOCK_EVENTS, PartsShaper
from ccproxy.claude.shaping.shaper import AskAgain, ComposeAgain
from ccproxy.core.blocks import Text, ToolUse, text_block
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStart,
    Restarted,
    TextDelta,
    UpstreamRetry,
)

_CUT_SHORT = (FinishReason.LENGTH, FinishReason.REFUSAL)


class _State(Enum):
    OPEN = auto()
    HELD = auto()
    CALLED = auto()


class DemandShaper(PartsShaper):
    """Holds text back until the required call arrives, and then leaves the text out.

    Args:
        names: the tools of which the model must call one.
        again: composes the second request.
        signed: how many parts keep the signatures of their thinking.
    """

    def __init__(
        self, names: Collection[str], again: ComposeAgain, signed: int = ALL_PARTS
    ) -> None:
        super().__init__(again, signed)
        self._names = tuple(names)
        self._state = _State.OPEN
        self._held: list[Event] = []
        # The text of the first part.
        self._first_text = ""

    @override
    def _take(self, event: Event) -> list[Event]:
        match event:
            case UpstreamRetry() | Failed():
                return [event]
            case MessageStart() | Restarted():
                self._held.clear()
                self._state = _State.OPEN
                return self._parts.renumber([event])
            case Finished() if self._state is not _State.CALLED:
                return self._finish(event)
            case ContentBlockStart(block):
                if isinstance(block.value, ToolUse) and block.value.name in self._names:
                    self._state = _State.CALLED
                    self._held = _without_text(self._held)
                elif self._state is _State.OPEN and isinstance(
                    block.value, Text | ToolUse
                ):
                    self._state = _State.HELD
        if self._state is _State.HELD:
            self._held.append(event)
            return []
        return [*self._released(), *self._parts.renumber([event])]

    def _released(self) -> list[Event]:
        held, self._held = self._held, []
        return self._parts.renumber(held)

    def _finish(self, end: Finished) -> list[Event]:
        if end.reason in _CUT_SHORT:
            return [*self._released(), end]
        if self._parts.number == 0:
            body = self._again(
                self._parts.blocks, f"{call_request(self._names)} Make the call now."
            )
            if body is not None:
                self._first_text = self._parts.text
                self._held.clear()
                self._state = _State.OPEN
                self._parts.begin_next_part()
                self.pending = AskAgain(body)
                return []
        has_call = any(isinstance(b.value, ToolUse) for b in self._parts.blocks)
        if not self._first_text or has_call:
            return [*self._released(), end]
        self._held = [
            ContentBlockStart(text_block("")),
            TextDelta(self._first_text),
            ContentBlockStop(),
        ]
        return [*self._release_first_text(), end]

    def _release_first_text(self) -> list[Event]:
        """Pass on the text of the first part, after all earlier events."""
        self._parts.begin_next_part()
        return self._released()


def _without_text(events: Sequence[Event]) -> list[Event]:
    """The events of all blocks but those of text."""
    texts = {
        event.index
        for event in events
        if isinstance(event, ContentBlockStart) and isinstance(event.block.value, Text)
    }
    return [
        event
        for event in events
        if not (isinstance(event, BLOCK_EVENTS) and event.index in texts)
    ]
