"""Sessions that wait for results of tool calls, with limits."""

from collections.abc import Callable, Sequence

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.native.prompt import Prompt, ToolResultBlock
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.suspension import Suspension
from ccproxy.claude.observer import StopReason
from ccproxy.config.limits import SuspensionLimits


@define(eq=False)
class _Place:
    session: Session
    suspension: Suspension
    timer: IDelayedCall


class SuspendedSessions:
    """Suspended sessions, the longest suspended first.

    Args:
        limits: how many sessions may wait, and how long.
        clock: for timers.
        retire: stops a session; called with the session and the reason.
    """

    def __init__(
        self,
        limits: SuspensionLimits,
        clock: IReactorTime,
        retire: Callable[[Session, StopReason], object],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._retire = retire
        self._places: list[_Place] = []

    def __len__(self) -> int:
        """The number of suspended sessions."""
        return len(self._places)

    def admit(self, session: Session, suspension: Suspension) -> None:
        """Suspend a session; if there are too many, stop the one suspended first."""
        if self._limits.max_suspended == 0:
            self._retire(session, StopReason.NOT_REUSED)
            return
        while len(self._places) >= self._limits.max_suspended:
            self.dismiss(StopReason.ROOM)

        def leave(why: StopReason) -> None:
            self._leave(place, why)

        timer = self._clock.callLater(
            self._limits.suspended_timeout, leave, StopReason.IDLE
        )
        place = _Place(session, suspension, timer)
        self._places.append(place)
        session.watch(lambda: leave(StopReason.LOST))

    def take(self, prompt: Prompt) -> tuple[Session, Sequence[ToolResultBlock]] | None:
        """Take the session that waits for the results in a request, and the results."""
        for place in self._places:
            results = place.suspension.results(prompt)
            if results is not None:
                self._remove(place)
                return place.session, results
        return None

    def dismiss(self, why: StopReason) -> None:
        """Stop the session that was suspended first, if there is one."""
        if self._places:
            self._leave(self._places[0], why)

    def _leave(self, place: _Place, why: StopReason) -> None:
        self._remove(place)
        self._retire(place.session, why)

    def _remove(self, place: _Place) -> None:
        self._places.remove(place)
        if place.timer.active():
            place.timer.cancel()
