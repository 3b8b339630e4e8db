"""Keeps a CLI from sending requests of its own once an answer has begun.

=======  =====================================================================
OPEN     every request of the CLI goes upstream; a timer may run
CLOSING  the limit is written
CLOSED   the limit is acknowledged: the turn has no further request
=======  =====================================================================

A retry of the current request goes upstream in any state.

The limit costs the CLI 10 ms of processor time, so it is not set for short answers. If
the CLI would send a request of its own after a short answer, its process is killed
instead, and a new process has to start. On a loaded machine one further request may go
upstream before the signal arrives; its answer is dropped.

Source: docs/claude-cli-protocol.md, "Requests of its own": written 10 ms before
the end of the answer or earlier, it was in time in 108 of 108 runs.
"""

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ccproxy.claude.protocol import requests
from ccproxy.claude.protocol.control import ControlChannel

# An answer of the provider's takes longer, even one of a few words.
_SHORT_SECONDS = 0.05


class _State(Enum):
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class RequestGuard:
    """Limits one CLI to one request a turn.

    Args:
        controls: control requests to the CLI.
        clock: for the timer.
        failed: called if the CLI does not accept the limit.
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
        """Whether the CLI cannot send a request of its own."""
        return self._state is _State.CLOSED

    def answer_begun(self, *, is_short: bool) -> None:
        """Set the limit: at once for a short answer, else after a moment."""
        if self._state is not _State.OPEN or self._timer is not None:
            return
        if is_short:
            self._close()
        else:
            self._timer = self._clock.callLater(_SHORT_SECONDS, self._close)

    def stop(self) -> None:
        """Cancel the timer: the answer is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self, *, is_closed: bool = False) -> None:
        """Note that the settings of the next question have removed the limit.

        Args:
            is_closed: they have set it again, and were acknowledged.
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
