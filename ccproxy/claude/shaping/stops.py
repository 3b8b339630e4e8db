"""Applies stop sequences of white space, which the provider refuses. Pure.

=========  =======================  ==================================================
state      input                    passed on
=========  =======================  ==================================================
STREAMING  text without a sequence  the text; its last characters are held if a
                                    sequence may begin with them
STREAMING  text with a sequence     the text before the sequence, and the ends of the
                                    block and the answer; the next state is ENDED
STREAMING  the end of a block       the held text, then the event
STREAMING  a new message            the event; the held text is dropped
STREAMING  any other event          the event
ENDED      any event                nothing
=========  =======================  ==================================================

The provider reports the number of generated tokens when the model ends its message. The
proxy ends the answer earlier, so its `Finished` has the usage of the `MessageStart`.

`ccproxy.claude.body.draft` chooses the sequences of body mode, and
`ccproxy.claude.native.request` those of native mode.

Source: rule 39 of the Messages API.
"""

from collections.abc import Sequence
from enum import Enum, auto

from typing_extensions import override

from ccproxy.claude.shaping.shaper import AnswerShaper
from ccproxy.core.stream import (
    ContentBlockStop,
    Event,
    Finished,
    MessageStart,
    Restarted,
    TextDelta,
    Usage,
)


class _State(Enum):
    STREAMING = auto()
    ENDED = auto()


class StopShaper(AnswerShaper):
    """Ends an answer at the first stop sequence.

    Args:
        stops: the sequences; none is empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._state = _State.STREAMING
        self._held = ""
        self._usage = Usage()

    @override
    def filter(self, events: Sequence[Event]) -> list[Event]:
        """The events to pass on; the last may be the answer's end."""
        passed: list[Event] = []
        for event in events:
            if self._state is _State.STREAMING:
                passed += self._take(event)
        return passed

    def _take(self, event: Event) -> list[Event]:
        match event:
            case TextDelta(text, index):
                return self._text(self._held + text, index)
            case ContentBlockStop(index):
                held, self._held = self._held, ""
                return [*([TextDelta(held, index)] if held else []), event]
            case MessageStart(usage=usage):
                self._held, self._usage = "", usage
            case Restarted():
                self._held = ""
        return [event]

    def _text(self, text: str, index: int) -> list[Event]:
        found = [s for s in self._stops if s in text]
        if found:
            # The sequence that ends first; if two end at this place, the longer.
            stop = min(found, key=lambda s: (text.find(s) + len(s), text.find(s)))
            place = text.find(stop)
            self._state = _State.ENDED
            before: list[Event] = [TextDelta(text[:place], index)] if place else []
            end = Finished("stop_sequence", self._usage, stop_sequence=stop)
            return [*before, ContentBlockStop(index), end]
        kept = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        passed = text[: len(text) - kept]
        return [TextDelta(passed, index)] if passed else []


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of ``text`` that is a proper prefix of ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
