"""Who is served by which CLI, and when.

A question takes, in this order: the CLI that waits for the results it brings; one that
has its conversation, or that of another with the same system prompt; a spare; a new
one; the place of one that nobody asks; a place in the queue, first come first served.
A CLI whose answer is over is kept, unless it has become too large or is no good; one
whose client has gone away is kept if its turn can be taken back.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.native.another import another_of
from ccproxy.claude.native.ask import Ask
from ccproxy.claude.native.audience import Listener
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.stock import IdleSessions, Spares
from ccproxy.claude.native.suspension import Suspension
from ccproxy.claude.native.transcript import Reuse
from ccproxy.claude.native.trust import Trust
from ccproxy.claude.native.waiting_room import WaitingRoom
from ccproxy.claude.observer import Observer, Served, Stopped
from ccproxy.claude.pool.limits import PoolLimits
from ccproxy.claude.pool.queue import Line
from ccproxy.claude.process.launch import Launch
from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError, ShuttingDown

# Breaking a turn off and taking it back takes 25 ms.
_UNDO_SECONDS = 3.0
# A CLI grows by what it is asked; this is a second bound beside that on its memory.
_MOST_TURNS = 500


class Starter(Protocol):
    """Starts CLIs."""

    def launch(self, prompt: Prompt | None) -> Launch:
        """How one is started for a question, or as a spare; raises `CCProxyError`."""

    def start_cli(self, launch: Launch) -> Session:
        """Start one; raises `CCProxyError` if that is not possible."""


class Pool:
    """Hands out CLIs."""

    def __init__(
        self,
        starter: Starter,
        clock: IReactorTime,
        limits: PoolLimits,
        observer: Observer,
    ) -> None:
        self._starter = starter
        self._observer = observer
        self._clock = clock
        self._limits = limits
        self._trust = Trust(limits.reuse)
        self._line = Line(limits.queue, limits.queue_seconds, limits.processes)
        self._running: set[Ask] = set()
        self._waiting = WaitingRoom(limits.waiting, clock, self._let_go)
        self._idle = IdleSessions(limits.idle_seconds, clock, self.retire)
        self._spares = Spares(
            limits.spares,
            clock,
            self._start_spare,
            self._is_preparing,
            self._has_room_for_spare,
            self.retire,
        )
        # Both still count as processes.
        self._undoing: dict[Session, Deferred[None]] = {}
        self._closing: dict[Session, Deferred[None]] = {}
        # One that nobody asks yet, to learn what it is.
        self._looked_at: set[Session] = set()
        self._stopped = False
        self._drained: Deferred[None] | None = None

    def ask(self, prompt: Prompt, listener: Listener) -> Ask:
        """Put a question; the listener is told everything, but never from within."""
        ask = Ask(self, prompt, listener, self._clock, self._observer)
        if self._stopped:
            ask.fail(_stopping())
            return ask
        taken = self._waiting.take(prompt)
        if taken is not None:
            session, results = taken

            def go_on() -> None:
                session.go_on(prompt, results, ask)

            self._run(ask, session, go_on, Served.SUSPENDED, Reuse.CONTINUE)
            return ask
        self._line.join(ask)
        self._serve()
        if ask in self._line:
            self._line.admit(ask, self._leaving)
        self._spares.refill()
        return ask

    @property
    def is_stopped(self) -> bool:
        """Whether no more questions are taken."""
        return self._stopped

    def start(self) -> None:
        """Serve, also after a stop; the spares are started."""
        self._stopped = False
        self._trust.restore()
        self._spares.refill(now=True)

    def stop(self) -> "Deferred[None]":
        """Fail every question and stop every process. Fires when all are gone."""
        self._stopped = True
        for ask in (*self._line, *self._running):
            ask.fail(_stopping())
        self._dismiss_all()
        for session in tuple(self._undoing):
            self._undoing[session].cancel()
        gone = DeferredList([another_of(d) for d in self._closing.values()])
        return gone.addCallback(lambda _: None)

    def kill(self) -> None:
        """Let no process that is being stopped take its time."""
        for session in tuple(self._closing):
            session.kill()

    def drain(self) -> "Deferred[None]":
        """Take no more questions. Fires when those that were taken are answered.

        `stop` is still to be called; on cancel the questions go on.
        """
        self._stopped = True
        self._dismiss_all()
        self._drained = Deferred()
        drained = another_of(self._drained)
        self._tell_drained()
        return drained

    def look_at(self, session: Session) -> None:
        """Count a session that is looked at, until `adopt` or `retire`."""
        self._looked_at.add(session)

    def adopt(self, session: Session) -> None:
        """Keep a session that is open and has not been asked."""
        self._looked_at.discard(session)
        if self._fate(session) is None and self._has_room():
            self._idle.admit(session)
        else:
            self.retire(session, self._fate(session) or Stopped.ROOM)
        self._serve()

    def census(self) -> Mapping[str, int]:
        """How many CLIs are at what; always the same names."""
        return {
            "answering": len(self._running),
            "suspended": len(self._waiting),
            "idle": len(self._idle),
            "spare": len(self._spares),
            "undoing": len(self._undoing),
            "stopping": len(self._closing),
        }

    @property
    def queued(self) -> int:
        """How many questions wait for a CLI."""
        return len(self._line)

    def retire(self, session: Session, why: Stopped) -> "Deferred[None]":
        """Stop a session's process; its place is free when it is gone."""
        self._observer.cli_stopped(why)
        self._looked_at.discard(session)
        closed = self._closing[session] = session.close()
        done = another_of(closed)
        closed.addCallback(lambda _: self._retired(session))
        return done

    def _retired(self, session: Session) -> None:
        del self._closing[session]
        self._serve()
        if not self._stopped:
            self._spares.refill()

    def _dismiss_all(self) -> None:
        self._spares.stop()
        why = Stopped.SHUTDOWN
        while self._idle.dismiss(why) or self._spares.dismiss(why):
            pass
        while self._waiting:
            self._waiting.dismiss()

    def _serve(self) -> None:
        """Serve who is next, as long as there is a CLI for them.

        Who comes later may have one that is of no use to those in front, once these
        have the promise of a place.
        """
        for ask in self._line:
            # What is done for one may end others.
            if ask not in self._line or self._is_served(ask):
                continue
            if not self._make_room(self._line.place(ask)):
                return

    def _is_served(self, ask: Ask) -> bool:
        try:
            return self._serve_with(ask, self._starter.launch(ask.prompt))
        except CCProxyError as error:
            ask.fail(error)
            return True

    def _serve_with(self, ask: Ask, launch: Launch) -> bool:
        reuse = self._trust.reuse
        taken = None
        if self._idle and not ask.needs_new:
            taken = self._idle.take(ask.prompt, ask.prints, launch, reuse)
        plan, served = None, Served.SPARE
        if taken is not None:
            session, plan = taken
            if plan.rewind_to is not None:
                served = Served.REWOUND
            elif plan.kept:
                served = Served.CONTINUED
        else:
            spare = self._spares.take(launch)
            if spare is None:
                if not self._has_room():
                    return False
                spare, served = self._starter.start_cli(launch), Served.NEW
            session = spare
        self._line.leave(ask)

        def put() -> None:
            session.ask(ask.prompt, ask, plan)

        use = Reuse.OFF if plan is None else plan.use
        self._run(ask, session, put, served, use)
        return True

    def _run(
        self,
        ask: Ask,
        session: Session,
        begin: Callable[[], None],
        served: Served,
        use: Reuse,
    ) -> None:
        self._running.add(ask)
        ask.start(session, begin, served, use)

    def _make_room(self, places: int) -> bool:
        """Let go of those that nobody asks; whoever is going already counts.

        Tells whether there will be as many places.
        """
        why = Stopped.ROOM
        while self._leaving < places:
            if self._idle.dismiss(why) or self._spares.dismiss(why):
                continue
            if not self._waiting:
                return False
            self._waiting.dismiss()
        return True

    @property
    def _leaving(self) -> int:
        """How many are free, or gone, in a moment."""
        return len(self._closing) + len(self._undoing)

    def _is_preparing(self) -> bool:
        return any(ask.is_preparing for ask in self._running)

    def _has_room_for_spare(self) -> bool:
        if self._has_room():
            return True
        if len(self._idle) > 1 and not self._leaving:
            # A new conversation is better served by a spare.
            self._idle.dismiss(Stopped.ROOM)
        return False

    def _has_room(self) -> bool:
        return self._count() < self._limits.processes

    def _count(self) -> int:
        return sum(self.census().values()) + len(self._looked_at)

    def _start_spare(self) -> Session:
        return self._starter.start_cli(self._starter.launch(None))

    def proved(self, use: Reuse) -> None:
        """Note that a CLI that was used again answers; called by the question."""
        self._trust.earned(use)

    def again(self, ask: Ask, session: Session | None, use: Reuse) -> None:
        """Put a question to a new CLI, before all others; called by the question."""
        self._trust.lost(use)
        self._running.discard(ask)
        self._line.return_to(ask)
        if session is not None:
            self.retire(session, Stopped.LOST)
        self._serve()

    def left(
        self, ask: Ask, session: Session | None, suspension: Suspension | None
    ) -> None:
        """Take a question off the books; called by the question."""
        self._running.discard(ask)
        self._line.leave(ask)
        if session is not None:
            self._line.answered(ask)
            if suspension is not None and not self._stopped:
                self._waiting.admit(session, suspension)
            else:
                self._let_go(session)
            self._serve()
        if not self._stopped:
            self._spares.refill()
        self._tell_drained()

    def _let_go(self, session: Session) -> None:
        """Keep a session for another question, or stop it."""
        fate = self._fate(session)
        if session.is_open and fate is None:
            self._idle.admit(session)
        elif session.can_undo and fate is None and self._trust.reuse is Reuse.REWIND:
            self._undo(session)
        else:
            self.retire(session, fate or Stopped.UNUSABLE)

    def _fate(self, session: Session) -> Stopped | None:
        """Why a session cannot be kept; None: it can, if it is of use."""
        if self._stopped:
            return Stopped.SHUTDOWN
        # Who knows what Claude Code remembers of its own tools.
        if self._trust.reuse is Reuse.OFF or session.launch.spawns_children:
            return Stopped.NOT_REUSED
        is_large = session.resident_bytes > self._limits.recycle_bytes
        return Stopped.WORN if is_large or session.turns >= _MOST_TURNS else None

    def _undo(self, session: Session) -> None:
        undone = session.undo()
        self._undoing[session] = undone
        undone.addTimeout(_UNDO_SECONDS, self._clock)
        undone.addCallbacks(
            lambda _: self._undone(session), lambda failure: self._stuck(session)
        )

    def _undone(self, session: Session) -> None:
        del self._undoing[session]
        self._let_go(session)
        self._serve()

    def _stuck(self, session: Session) -> None:
        del self._undoing[session]
        self.retire(session, Stopped.LOST)

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._running and not self._line:
            drained, self._drained = self._drained, None
            drained.callback(None)


def _stopping() -> ShuttingDown:
    return ShuttingDown("the proxy is being stopped; try again when it is back")
