"""Who is told the answer, and how long it may take to come."""

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.native.events import (
    Event,
    Failed,
    Finished,
    RedactedThinking,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    Waiting,
)
from ccproxy.claude.worker.deadlines import Deadlines, Limits
from ccproxy.core.errors import CCProxyError, RateLimited, TimedOut

# What of an answer its client can see.
TOKENS = TextDelta | ThinkingDelta | RedactedThinking | ToolCallStarted | ToolCallDelta


class NativeListener(Protocol):
    """Who is told the answer."""

    def receive(self, events: Sequence[Event]) -> None:
        """Take what arrived together, at least one event, in order.

        The last event of all is the only ``Finished`` or ``Failed``.
        """


class Audience:
    """The listener to one answer after the other, and its patience.

    Attributes:
        listener: None: nobody listens.

    Args:
        expired: told which limit has passed.
    """

    def __init__(
        self,
        limits: Limits,
        clock: IReactorTime,
        expired: Callable[[TimedOut], None],
    ) -> None:
        self._deadlines = Deadlines(limits, clock, expired)
        self.listener: NativeListener | None = None

    def begin(self, listener: NativeListener) -> None:
        """Listen."""
        self.listener = listener
        self._deadlines.start()

    def leave(self) -> None:
        """Hear no more."""
        self.listener = None
        self._deadlines.stop()

    def pause(self) -> None:
        """Be patient until `resume`."""
        self._deadlines.pause()

    def resume(self) -> None:
        """Go on listening."""
        self._deadlines.resume()

    def filter_events(
        self, events: list[Event], why: Callable[[CCProxyError], CCProxyError]
    ) -> list[Event]:
        """What of the events is to be told: up to the end of the answer.

        Args:
            events: what has arrived.
            why: from an error of ours to what it comes from, if more is known.
        """
        # A timer is set anew for each batch, not for each of its tokens.
        if any(isinstance(event, TOKENS) for event in events):
            self._deadlines.token()
        for position, event in enumerate(events):
            match event:
                case Waiting() if not self._deadlines.can_wait(event.delay_seconds):
                    error = RateLimited(
                        "the model's provider asks to wait for longer than this "
                        "request may take",
                        retry_after_seconds=event.delay_seconds,
                    )
                    return [*events[:position], Failed(why(error))]
                case Waiting():
                    self._deadlines.waiting()
                case Finished() | Failed():
                    return events[: position + 1]
        return events
