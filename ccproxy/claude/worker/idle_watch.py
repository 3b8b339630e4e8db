"""What is done with a worker now and then: it forgets when idle, and is looked at."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# To forget a body costs the CLI as much as to take another: 14 ms of its processor.
# So it is not done where the next question comes at once.
_FORGET_SECONDS = 0.25
_LOOK_SECONDS = 5.0


class IdleWatch:
    """The timers of one worker, from `start` to `stop`.

    Args:
        forget: called once, soon.
        look: called now and then.
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
        self._timers: dict[Callable[[], None], IDelayedCall] = {}

    def start(self, *, has_body: bool) -> None:
        """Begin; ``has_body`` tells whether there is anything to forget."""
        self.stop()
        if has_body:
            self._call(_FORGET_SECONDS, self._forget)
        self._call(_LOOK_SECONDS, self._look_again)

    def stop(self) -> None:
        """End; may be called at any time."""
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()

    def _look_again(self) -> None:
        self._call(_LOOK_SECONDS, self._look_again)
        self._look()

    def _call(self, seconds: float, what: Callable[[], None]) -> None:
        self._timers[what] = self._clock.callLater(seconds, what)
