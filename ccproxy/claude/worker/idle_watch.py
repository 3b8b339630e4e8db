"""The timers of an idle worker: its body is removed, its process is checked.

`ccproxy.claude.pool.idle` has the timer of ``--idle-timeout``.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# To remove a body costs the CLI as much as to set another: 14 ms of processor time.
# So it is not removed if the next question comes at once.
_FORGET_SECONDS = 0.25
_LOOK_SECONDS = 5.0


class IdleWatch:
    """The timers of one worker, from `start` to `stop`.

    Args:
        clock: for the timers.
        forget: called once, soon after `start`.
        look: called every few seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        forget: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._forget = forget
        self._look = look
        self._forgetting: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None

    def start(self, *, has_body: bool) -> None:
        """Start the timers; ``has_body``: whether there is a body to remove."""
        self._cancel_forgetting()
        if has_body:
            self._forgetting = self._clock.callLater(_FORGET_SECONDS, self._forget_now)
        if self._looking is None:
            self._looking = self._clock.callLater(_LOOK_SECONDS, self._look_again)
        else:
            # This happens twice for each question; a new timer would cost more.
            self._looking.reset(_LOOK_SECONDS)

    def stop(self) -> None:
        """Stop the timers; may be called at any time."""
        self._cancel_forgetting()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _forget_now(self) -> None:
        self._forgetting = None
        self._forget()

    def _look_again(self) -> None:
        self._looking = self._clock.callLater(_LOOK_SECONDS, self._look_again)
        self._look()

    def _cancel_forgetting(self) -> None:
        forgetting, self._forgetting = self._forgetting, None
        if forgetting is not None:
            forgetting.cancel()
