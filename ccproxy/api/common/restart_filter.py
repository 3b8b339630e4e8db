"""Continues a stream when an answer is cut off and the CLI repeats the request. Pure.

If the provider's answer is cut off (`Restarted`), the CLI sends the request again and
gets a second answer. The client already has the beginning of the first answer. The
filter removes this beginning from the second answer, so that the client receives one
continuous answer. If the second answer does not begin with the same text, the stream
ends with an error.

========  =============================================================================
block     events of the second answer
========  =============================================================================
text      The text after the common beginning is sent in the client's open block. If
          the client has no open text block, a block is opened.
thinking  Left out if the client has thinking or text, because it would differ.
call      Sent. If the client has a call of the first answer, the stream fails.
other     As for calls.
========  =============================================================================

The client's blocks are numbered consecutively (``index``), over both answers.
"""

from collections.abc import Iterable

from attrs import define, evolve

from ccproxy.core.blocks import Block, RedactedThinking, Text, Thinking, text_block
from ccproxy.core.errors import Cause, ClaudeFailed
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


@define
class _Open:
    """The client's open block, with its number."""

    index: int
    block: Block
    is_empty: bool = True


class RestartFilter:
    """Filters the events of one answer; the result has no ``Restarted``."""

    def __init__(self) -> None:
        # The text of this message that was sent to the client.
        self._sent: list[str] = []
        # The end of that text, which the second answer has not repeated yet.
        self._to_repeat = ""
        # Whether the client has thinking of this message.
        self._has_thought = False
        # Whether thinking of the second answer is left out.
        self._thinks_again = False
        self._restarting = False
        self._why = ""
        # Whether the client has a call or another block that cannot be continued.
        self._is_bound = False
        self._failed = False
        self._open: _Open | None = None
        self._next_index = 0
        # The client's number of each block of the second answer; None for a block that
        # is left out. The attribute is None before a restart.
        self._indices: dict[int, int | None] | None = None

    def filter(self, events: Iterable[Event]) -> list[Event]:
        """The events for the client; empty after a failure."""
        kept: list[Event] = []
        for event in events:
            if self._failed:
                break
            if isinstance(event, TextDelta) and self._indices is None:
                # Nearly all events are text deltas.
                self._sent.append(event.text)
                if self._open is not None:
                    self._open.is_empty = False
                kept.append(event)
                continue
            if self._indices is None and not isinstance(event, Restarted):
                kept.append(self._first(event))
            else:
                kept += self._again(event)
            self._failed = bool(kept) and isinstance(kept[-1], Failed)
        return kept

    def _first(self, event: Event) -> Event:
        """Record an event of an answer that was not cut off; returns the event."""
        match event:
            case ThinkingDelta() | SignatureDelta():
                self._has_thought = True
                self._fill()
            case InputJSONDelta() | OpaqueDelta():
                self._fill()
            case ContentBlockStart(block, index):
                self._begin(block, index)
            case ContentBlockStop():
                self._open = None
            case MessageStart():
                self._forget()
            case Finished() | Failed():
                # The answer cannot be cut off any more; its text is not needed.
                self._sent.clear()
        return event

    def _fill(self) -> None:
        if self._open is not None:
            self._open.is_empty = False

    def _begin(self, block: Block, index: int) -> None:
        self._open = _Open(index, block)
        self._next_index = index + 1
        match block.value:
            case RedactedThinking():
                self._has_thought = True
            case Text() | Thinking():
                pass
            case _:
                self._is_bound = True

    def _forget(self) -> None:
        """Reset the state for a new message."""
        self._sent.clear()
        self._has_thought = self._thinks_again = self._is_bound = False
        self._open, self._next_index, self._indices = None, 0, None

    def _again(self, event: Event) -> list[Event]:
        """Filter ``Restarted``, or an event of the second answer."""
        match event:
            case Restarted(why):
                return self._restart(why)
            case MessageStart() if self._restarting:
                self._restarting = False
            case MessageStart() | Finished() if self._to_repeat:
                return [_mismatch(self._why)]
            case MessageStart():
                stop = self._close()
                self._forget()
                return [*stop, event]
            case Finished():
                self._sent.clear()
                return [*self._close(), event]
            case Failed():
                self._sent.clear()
            case ContentBlockStart(block, index):
                return self._start(block, index)
            case ContentBlockStop(index):
                return self._stop(index)
            case TextDelta(text, index):
                return self._text(text, index)
            case ThinkingDelta() | SignatureDelta():
                return self._renumbered(event)
            case InputJSONDelta() | OpaqueDelta():
                return [] if self._to_repeat else self._renumbered(event)
        return [event]

    def _restart(self, why: str) -> list[Event]:
        if self._is_bound:
            # The call in the second answer would have a different id.
            return [_mismatch(why)]
        self._why = why
        self._to_repeat = "".join(self._sent)
        self._thinks_again = self._has_thought or bool(self._to_repeat)
        self._restarting = True
        self._indices = {}
        # The second answer continues an open text block or an empty block. Any other
        # open block is closed: open thinking will not get its signature.
        current = self._open
        if current is None or current.is_empty or isinstance(current.block.value, Text):
            return []
        return self._close()

    def _close(self) -> list[Event]:
        """Close the client's open block, if there is one."""
        current, self._open = self._open, None
        return [] if current is None else [ContentBlockStop(current.index)]

    def _start(self, block: Block, index: int) -> list[Event]:
        current, numbers = self._open, self._numbers
        value = block.value
        if isinstance(value, Thinking | RedactedThinking) and self._thinks_again:
            numbers[index] = None
            return []
        if current is not None and current.block.type == block.type:
            numbers[index] = current.index
            return []
        if self._to_repeat and isinstance(value, Text):
            # The client may already have the whole text of this block. `_text` opens
            # the block when there is new text.
            numbers[index] = None
            return []
        if self._to_repeat:
            return [_mismatch(self._why)]
        return self._open_next(block, index)

    def _open_next(self, block: Block, index: int) -> list[Event]:
        """Open a block with the client's next number."""
        number = self._numbers[index] = self._next_index
        closed = self._close()
        self._begin(block, number)
        return [*closed, ContentBlockStart(block, number)]

    @property
    def _numbers(self) -> dict[int, int | None]:
        return {} if self._indices is None else self._indices

    def _stop(self, index: int) -> list[Event]:
        number = self._numbers.get(index)
        if number is None or self._open is None or self._open.index != number:
            return []
        # If more text has to be repeated, the next block continues this one.
        return [] if self._to_repeat else self._close()

    def _text(self, text: str, index: int) -> list[Event]:
        if self._to_repeat.startswith(text):
            self._to_repeat = self._to_repeat[len(text) :]
            return []
        if not text.startswith(self._to_repeat):
            return [_mismatch(self._why)]
        text, self._to_repeat = text[len(self._to_repeat) :], ""
        self._sent.append(text)
        opened: list[Event] = []
        if self._numbers.get(index, index) is None:
            opened = self._open_next(text_block(""), index)
        self._fill()
        number = self._numbers.get(index)
        return [*opened, TextDelta(text, index if number is None else number)]

    def _renumbered(
        self, event: ThinkingDelta | SignatureDelta | InputJSONDelta | OpaqueDelta
    ) -> list[Event]:
        number = self._numbers.get(event.index, event.index)
        is_thinking = isinstance(event, ThinkingDelta | SignatureDelta)
        if number is None or (is_thinking and self._thinks_again):
            return []
        if is_thinking:
            self._has_thought = True
        self._fill()
        return [event if number == event.index else evolve(event, index=number)]


def _mismatch(why: str) -> Failed:
    return Failed(
        ClaudeFailed(
            f"{why}, and the second answer does not continue the first; try again",
            cause=Cause.RESTART_DIFFERS,
        )
    )
