"""A stream that was cut and begun again, told as if it never was. Pure.

What has been sent cannot be taken back. When the upstream loses an answer and
the CLI asks for it again, the text that the client has is swallowed from the new
answer and the rest goes on. If the new answer says something else, going on
would be a lie: the stream ends with an error.
"""

from collections.abc import Iterable

from ccproxy.errors import ClaudeFailed
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    MessageStarted,
    RedactedThinking,
    Restarted,
    TextDelta,
    ThinkingDelta,
    ThinkingSigned,
    ToolCallStarted,
)


class Replay:
    """Filters the events of one turn; the result has no ``Restarted`` in it."""

    def __init__(self) -> None:
        # The text of this message that the client has.
        self._sent: list[str] = []
        # What of it the new answer has still to repeat.
        self._owed = ""
        # Thinking is no part of the answer, and the second time it differs: what
        # was told of it stays, and no more is told.
        self._has_thought = False
        self._thinks_again = False
        self._restarting = False
        self._why = ""
        self._has_called = False
        self._failed = False

    def filter(self, events: Iterable[Event]) -> list[Event]:
        """Return what the client should be told; nothing after a failure."""
        kept: list[Event] = []
        for event in events:
            if self._failed:
                break
            told = self._told(event)
            if told is not None:
                self._failed = isinstance(told, Failed)
                kept.append(told)
        return kept

    def _told(self, event: Event) -> Event | None:
        match event:
            case TextDelta(text) if not self._owed:
                self._sent.append(text)
            case TextDelta(text):
                return self._continued(text)
            case ThinkingDelta() | ThinkingSigned() | RedactedThinking():
                if self._thinks_again:
                    return None
                self._has_thought = True
            case ToolCallStarted():
                self._has_called = True
            case Restarted(why) if self._has_called:
                # A call cannot be taken back, and its second form has another id.
                return _mismatch(why)
            case Restarted(why):
                self._why = why
                self._thinks_again = self._has_thought
                self._owed = "".join(self._sent)
                self._restarting = True
                return None
            case MessageStarted() if self._restarting:
                self._restarting = False
            case MessageStarted() | Finished() if self._owed:
                return _mismatch(self._why)
            case Finished() | Failed():
                # Nothing can be sent again; a long answer need not wait for whoever
                # still knows of this one.
                self._sent.clear()
            case MessageStarted():
                self._sent.clear()
                self._has_thought = self._thinks_again = self._has_called = False
        return event

    def _continued(self, text: str) -> Event | None:
        if self._owed.startswith(text):
            self._owed = self._owed[len(text) :]
            return None
        if not text.startswith(self._owed):
            return _mismatch(self._why)
        text, self._owed = text[len(self._owed) :], ""
        self._sent.append(text)
        return TextDelta(text)


def _mismatch(why: str) -> Failed:
    return Failed(
        ClaudeFailed(
            f"{why}, and its second answer does not continue the first; ask again"
        )
    )
