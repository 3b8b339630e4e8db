"""Keeps a CLI from asking the model by itself, once an answer has begun.

=======  =====================================================================
OPEN     whatever the CLI asks goes up; a timer may run
CLOSING  the limit is written
CLOSED   the limit is acknowledged: the turn has no further request
=======  =====================================================================

A retry of the request that is under way goes up in any state.

The limit costs the CLI 10 ms of its processor, so short answers are spared it. Where
one of them turns out to be of those after which the CLI asks again, its process has to
be killed instead, which costs a new one. If the machine is loaded, one further request
may go up before the signal; nobody hears its answer.

Source: docs/claude-cli-protocol.md, "Requests of its own": written 10 ms before
the end of the answer or earlier, it was in time in 108 of 108 runs.
"""

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ccproxy.claude.protocol import requests
from ccproxy.claude.protocol.control import ControlChannel

# A provider's answer of a few words takes longer.
_SHORT_SECONDS = 0.02


class _State(Enum):
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class RequestGuard:
    """What keeps one CLI from asking by itself.

    Args:
        failed: told why it cannot.
    """

    def __init__(
        self,
        controls: ControlChannel,
        clock: IReactorTime,
        failed: Callable[[Failure], None],
    ) -> None:
        self._controls = controls
        self._clock = clock
        self._failed = failed
        self._state = _State.OPEN
        self._timer: IDelayedCall | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the CLI is sure to ask nothing by itself."""
        return self._state is _State.CLOSED

    def answer_begun(self, *, is_short: bool) -> None:
        """Close, at once if the answer is to be short, else if it goes on."""
        if self._state is not _State.OPEN or self._timer is not None:
            return
        if is_short:
            self._close()
        else:
            self._timer = self._clock.callLater(_SHORT_SECONDS, self._close)

    def stop(self) -> None:
        """Close no more: the answer is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self, *, is_closed: bool = False) -> None:
        """Begin again: the settings of the next question take the limit back.

        Args:
            is_closed: these settings have the limit, and were acknowledged.
        """
        self.stop()
        self._state = _State.CLOSED if is_closed else _State.OPEN

    def _close(self) -> None:
        self._timer = None
        self._state = _State.CLOSING
        asked = self._controls.ask(requests.limit_to_one_request())
        asked.addCallbacks(self._closed, self._failed)

    def _closed(self, _: object) -> None:
        if self._state is _State.CLOSING:
            self._state = _State.CLOSED
