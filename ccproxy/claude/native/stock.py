"""CLIs that nobody asks just now: those that have answered, and spares.

A spare has been started and told nothing, so that it will do for any question. Spares
are replaced one by one while no questions come and no question waits for its CLI to
start, so that their starts take nothing from the answers. That is all the priority that
they have: a higher nice value, or an idle scheduling class, would stay with one that is
taken to answer, because only root may lower it again.
"""

from collections.abc import Callable, Sequence

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from ccproxy.claude.native.session import Session
from ccproxy.claude.native.transcript import Plan, Reuse
from ccproxy.claude.observer import Stopped
from ccproxy.claude.process.launch import Launch
from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError

# How long it has to be quiet before a spare is started: a start takes 0.45 s.
_QUIET_SECONDS = 0.25
# A CLI that cannot be started is tried again after this, then after twice as long.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


@define(eq=False)
class _Place:
    session: Session
    timer: IDelayedCall


class IdleSessions:
    """CLIs that have answered, the one used longest ago first.

    Args:
        seconds: how long one is kept.
        retire: given each that will not be asked any more.
    """

    def __init__(
        self,
        seconds: float,
        clock: IReactorTime,
        retire: Callable[[Session, Stopped], object],
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._retire = retire
        self._places: list[_Place] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def admit(self, session: Session) -> None:
        """Keep a session for a while."""

        def leave(why: Stopped) -> None:
            self._remove(place)
            self._retire(session, why)

        timer = self._clock.callLater(self._seconds, leave, Stopped.IDLE)
        place = _Place(session, timer)
        self._places.append(place)
        session.keep(lambda: leave(Stopped.LOST))

    def take(
        self, prompt: Prompt, prints: Sequence[bytes], launch: Launch, reuse: Reuse
    ) -> tuple[Session, Plan] | None:
        """The session that has least to be told, and how; None: none will do."""
        best: tuple[_Place, Plan] | None = None
        for place in self._places:
            if place.session.launch != launch:
                continue
            plan = place.session.plan(prompt, prints, reuse)
            if plan is not None and (best is None or _is_better(plan, best[1])):
                best = place, plan
        if best is None:
            return None
        place, plan = best
        self._remove(place)
        return place.session, plan

    def dismiss(self, why: Stopped) -> bool:
        """Let the session go that was used longest ago; tells whether there is one."""
        if not self._places:
            return False
        place = self._places[0]
        self._remove(place)
        self._retire(place.session, why)
        return True

    def _remove(self, place: _Place) -> None:
        self._places.remove(place)
        if place.timer.active():
            place.timer.cancel()


def _is_better(one: Plan, other: Plan) -> bool:
    """Whether more of the conversation stays; nothing to take back is best."""
    return (one.kept, one.rewind_to is None) > (other.kept, other.rewind_to is None)


class Spares:
    """CLIs that have been told nothing.

    Args:
        wanted: how many there shall be.
        start: starts one; raises `CCProxyError` if it cannot.
        is_busy: whether other CLIs are being started; a start waits for that.
        has_room: whether there may be one more process.
        retire: given each that will not be asked.
    """

    _log = Logger()

    def __init__(
        self,
        wanted: int,
        clock: IReactorTime,
        start: Callable[[], Session],
        is_busy: Callable[[], bool],
        has_room: Callable[[], bool],
        retire: Callable[[Session, Stopped], object],
    ) -> None:
        self._wanted = wanted
        self._clock = clock
        self._start = start
        self._is_busy = is_busy
        self._has_room = has_room
        self._retire = retire
        self._sessions: list[Session] = []
        self._timer: IDelayedCall | None = None
        self._pause_seconds = 0.0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)

    @property
    def missing(self) -> int:
        """How many there should be more."""
        return self._wanted - len(self._sessions)

    def take(self, launch: Launch) -> Session | None:
        """One that was started like this; None: there is none."""
        for session in self._sessions:
            if session.launch == launch:
                self._sessions.remove(session)
                self._pause_seconds = 0.0
                return session
        return None

    def dismiss(self, why: Stopped) -> bool:
        """Let one go; tells whether there is one."""
        if not self._sessions:
            return False
        self._retire(self._sessions.pop(), why)
        return True

    def refill(self, *, now: bool = False) -> None:
        """Start what is missing, when no questions have come for a moment."""
        if self.missing <= 0:
            return
        delay = max(self._pause_seconds, 0.0 if now else _QUIET_SECONDS)
        self.stop()
        self._timer = self._clock.callLater(delay, self._fill)

    def stop(self) -> None:
        """Start no more until `refill`."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _fill(self) -> None:
        self._timer = None
        if self.missing <= 0:
            return
        if self._is_busy():
            self.refill()
            return
        if not self._has_room():
            return
        try:
            session = self._start()
        except CCProxyError as error:
            self._back_off(str(error))
        else:
            self._sessions.append(session)
            session.keep(lambda: self._lost(session))
        self.refill()

    def _lost(self, session: Session) -> None:
        self._sessions.remove(session)
        self._retire(session, Stopped.LOST)
        self._back_off("it ended by itself")
        self.refill()

    def _back_off(self, why: str) -> None:
        # Once is news, and every minute is noise.
        level = LogLevel.debug if self._pause_seconds else LogLevel.warn
        doubled = max(_FIRST_PAUSE_SECONDS, 2 * self._pause_seconds)
        self._pause_seconds = min(doubled, _LONGEST_PAUSE_SECONDS)
        self._log.emit(
            level,
            "no claude CLI can be kept ready ({why}); next try in {seconds:g} s",
            why=why,
            seconds=self._pause_seconds,
        )
