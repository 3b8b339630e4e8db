"""An answer that was cut and begun again, told as if it never was. Pure.

What has been sent cannot be taken back. When the upstream loses an answer and the CLI
asks for it again, the text that the client has is taken out of the second answer, and
the rest goes on: in the block that the client still has open, or in a new one. If the
second answer says something else, going on would be a lie: the stream ends with an
error.

=================  =================================================================
of the message     what becomes of it when it is told again
=================  =================================================================
its start          left out
text               left out as far as it was told; ``Failed`` if it differs
thinking           left out, once anything was told: it differs every time
calls, other       ``Failed`` if one was told: a second one would have another id,
blocks, citations  and what is cited may be another place
=================  =================================================================

Indices stay those of the blocks that were told; new blocks are counted on from there.
"""

from collections.abc import Iterable, Iterator

from attrs import define, evolve

from ccproxy.core.messages import Block, RedactedThinking, Text, Thinking
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
from ccproxy.errors import ClaudeFailed

_Delta = TextDelta | ThinkingDelta | SignatureDelta | InputJSONDelta | OpaqueDelta


@define(eq=False)
class _Again:
    """A block of the second answer.

    Attributes:
        start: what begins it, held back until it says something new.
        index: of the block that it is for the client; None: it has none yet.
        is_hidden: nothing of it is told.
    """

    start: Block
    index: int | None = None
    is_hidden: bool = False


class RestartFilter:
    """Filters the events of one answer; the result has no `Restarted` in it."""

    def __init__(self) -> None:
        self._has_failed = False
        self._why = ""
        self._begin_message()

    def filter(self, events: Iterable[Event]) -> list[Event]:
        """Return what the client should be told; nothing after a failure."""
        kept: list[Event] = []
        for event in events:
            for told in self._filter(event):
                kept.append(told)
                if isinstance(told, Failed):
                    self._has_failed = True
                    return kept
        return kept

    def _begin_message(self) -> None:
        # The text that the client has, and what of it has still to be repeated.
        self._sent: list[str] = []
        self._owed = ""
        self._next_index = 0
        # The client's open blocks, and whether they are text.
        self._open: dict[int, bool] = {}
        self._has_told = False
        self._can_repeat = True
        self._is_restarting = False
        # Whether the message is told again, and its blocks by their numbers there.
        self._is_again = False
        self._again: dict[int, _Again] = {}

    def _filter(self, event: Event) -> Iterator[Event]:
        if self._has_failed:
            return
        match event:
            case TextDelta() if not self._is_again:
                # The one that there are many of.
                self._sent.append(event.text)
                yield event
            case Restarted(why):
                yield from self._restart(why)
            case MessageStart() if self._is_restarting:
                self._is_restarting = False
            case MessageStart() | Finished() if self._owed:
                yield self._mismatch()
            case MessageStart():
                self._begin_message()
                yield event
            case Finished() | Failed():
                # Nothing can be sent again; a long answer need not wait for whoever
                # still knows of this one.
                self._sent.clear()
                yield event
            case ContentBlockStart(block, index) if not self._is_again:
                yield self._start(block, index)
            case ContentBlockStart(block, index):
                yield from self._start_again(block, index)
            case ContentBlockStop(index) if not self._is_again:
                self._open.pop(index, None)
                yield event
            case ContentBlockStop(index):
                yield from self._stop_again(index)
            case _ if isinstance(event, _Delta) and self._is_again:
                yield from self._delta_again(event)
            case OpaqueDelta():
                self._can_repeat = False
                yield event
            case _:
                yield event

    def _start(self, block: Block, index: int) -> ContentBlockStart:
        """Note a block that the client is told of."""
        is_text = isinstance(block.value, Text)
        self._has_told = True
        self._open[index] = is_text
        self._next_index = max(self._next_index, index + 1)
        if not is_text and not _is_thinking(block):
            self._can_repeat = False
        return ContentBlockStart(block, index)

    def _restart(self, why: str) -> Iterator[Event]:
        self._why = why
        if not self._can_repeat:
            yield self._mismatch()
            return
        self._owed = "".join(self._sent)
        self._is_restarting = self._is_again = True
        self._again = {}
        # Thinking is not gone on with.
        yield from self._stop_all(is_text=False)

    def _start_again(self, block: Block, index: int) -> Iterator[Event]:
        again = self._again[index] = _Again(block)
        if isinstance(block.value, Text):
            return
        if _is_thinking(block):
            again.is_hidden = self._has_told
        if again.is_hidden:
            return
        if self._owed:
            yield self._mismatch()
            return
        yield from self._stop_all(is_text=True)
        yield self._tell(again)

    def _tell(self, again: _Again) -> ContentBlockStart:
        again.index = self._next_index
        return self._start(again.start, again.index)

    def _delta_again(self, event: _Delta) -> Iterator[Event]:
        again = self._again.get(event.index)
        if again is None or again.is_hidden:
            return
        if isinstance(event, TextDelta):
            text = event.text
            if self._owed.startswith(text):
                self._owed = self._owed[len(text) :]
                return
            if not text.startswith(self._owed):
                yield self._mismatch()
                return
            text, self._owed = text[len(self._owed) :], ""
            self._sent.append(text)
            event = evolve(event, text=text)
        elif isinstance(event, OpaqueDelta):
            if self._owed:
                yield self._mismatch()
                return
            self._can_repeat = False
        if again.index is None:
            open_text = [index for index, is_text in self._open.items() if is_text]
            if not open_text:
                yield self._tell(again)
            else:
                again.index = open_text[-1]
        yield _moved(event, again.index)

    def _stop_again(self, index: int) -> Iterator[Event]:
        again = self._again.get(index)
        if again is None or again.is_hidden:
            return
        if again.index is not None:
            self._open.pop(again.index, None)
            yield ContentBlockStop(again.index)
        elif not self._owed:
            yield from self._stop_all(is_text=True)

    def _stop_all(self, *, is_text: bool) -> Iterator[Event]:
        for index in [i for i, kind in self._open.items() if kind is is_text]:
            del self._open[index]
            yield ContentBlockStop(index)

    def _mismatch(self) -> Failed:
        return Failed(
            ClaudeFailed(
                f"{self._why}, and its second answer does not continue the first; "
                "ask again"
            )
        )


def _moved(event: _Delta, index: int | None) -> _Delta:
    return event if index is None else evolve(event, index=index)


def _is_thinking(block: Block) -> bool:
    return isinstance(block.value, Thinking | RedactedThinking)
