"""Who is served by which CLI, and when.

A question that brings the results of a session's calls is that session's, at once; any
other gets a CLI of its own. It waits, first come first served, while as many processes
as allowed are there; a process counts until it is reaped. A session that waits for
results makes room for a question: what it knows, the client knows too. Keeping sessions
and choosing among them belongs here and nowhere else.

=========  ==============================================================
QUEUED     waits for a free place
RUNNING    has a session
OVER       answered, failed or cancelled; the session is on its way out
=========  ==============================================================
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.session import Listener, Session
from ccproxy.claude.suspension import Recorder, Suspension
from ccproxy.claude.waiting_room import WaitingLimits, WaitingRoom
from ccproxy.conversation import Prompt, ToolResultBlock
from ccproxy.errors import CCProxyError, ClaudeFailed, ShuttingDown
from ccproxy.events import Event, Failed, Finished


class _State(Enum):
    QUEUED = auto()
    RUNNING = auto()
    OVER = auto()


class Pool:
    """Hands out CLIs.

    Args:
        new_session: starts a CLI for a question; raises `CCProxyError` if it cannot.
        max_processes: how many there may be at one time.
        waiting: how many of them may wait for results.
    """

    def __init__(
        self,
        new_session: Callable[[Prompt], Session],
        clock: IReactorTime,
        max_processes: int,
        waiting: WaitingLimits,
    ) -> None:
        self._new_session = new_session
        self._clock = clock
        self._max_processes = max_processes
        self._queue: deque[Ask] = deque()
        self._running: set[Ask] = set()
        self._waiting = WaitingRoom(waiting, clock, self.retire)
        # Sessions that are being stopped still count as processes.
        self._closing: dict[Session, Deferred[None]] = {}
        self._stopped = False

    def ask(self, prompt: Prompt, listener: Listener) -> "Ask":
        """Put a question; the listener is told everything, but never from within."""
        ask = Ask(self, prompt, listener, self._clock)
        if self._stopped:
            ask.fail(_stopping())
            return ask
        taken = self._waiting.take(prompt)
        if taken is not None:
            self._running.add(ask)
            ask.go_on(*taken)
        else:
            self._queue.append(ask)
            self._serve()
        return ask

    def start(self) -> None:
        """Serve, also after a stop."""
        self._stopped = False

    def stop(self) -> "Deferred[None]":
        """Fail every question and stop every process. Fires when all are gone."""
        self._stopped = True
        for ask in (*self._queue, *self._running):
            ask.fail(_stopping())
        self._queue.clear()
        while self._waiting:
            self._waiting.dismiss()
        gone = DeferredList([_copy(d) for d in self._closing.values()])
        return gone.addCallback(lambda _: None)

    def retire(self, session: Session) -> "Deferred[None]":
        """Stop a session's process; its place is free when it is gone."""
        closed = session.close()
        self._closing[session] = closed
        done = _copy(closed)
        closed.addCallback(lambda _: self._retired(session))
        return done

    def _retired(self, session: Session) -> None:
        del self._closing[session]
        self._serve()

    def _serve(self) -> None:
        # Whoever is on the way out already makes room for one more.
        while (
            self._waiting
            and len(self._closing) < len(self._queue)
            and self._count() >= self._max_processes
        ):
            self._waiting.dismiss()
        while self._queue and self._count() < self._max_processes:
            ask = self._queue.popleft()
            try:
                session = self._new_session(ask.prompt)
            except CCProxyError as error:
                ask.fail(error)
            else:
                self._running.add(ask)
                ask.start(session)

    def again(self, ask: "Ask", session: Session | None) -> None:
        """Put a question first in the queue again; called by the question."""
        self._running.discard(ask)
        self._queue.appendleft(ask)
        if session is not None:
            self.retire(session)
        self._serve()

    def _count(self) -> int:
        return len(self._running) + len(self._closing) + len(self._waiting)

    def left(
        self, ask: "Ask", session: Session | None, suspension: Suspension | None
    ) -> None:
        """Take a question off the books; called by the question.

        Args:
            ask: the question.
            session: which has answered it, or was about to.
            suspension: what the session waits for, if it does.
        """
        self._running.discard(ask)
        if ask in self._queue:
            self._queue.remove(ask)
        if session is None:
            return
        if suspension is None or self._stopped:
            self.retire(session)
        else:
            self._waiting.admit(session, suspension)
            self._serve()


class Ask:
    """One question on its way; what `Pool.ask` returns."""

    def __init__(
        self, pool: Pool, prompt: Prompt, listener: Listener, clock: IReactorTime
    ) -> None:
        self.prompt = prompt
        self._pool = pool
        # Only who can call has something to wait for.
        self._recorder = Recorder() if prompt.tools else None
        self._has_waited = False
        self._listener = listener
        self._clock = clock
        self._state = _State.QUEUED
        self._session: Session | None = None
        self._paused = False

    def start(self, session: Session) -> None:
        """Begin with a session of one's own; called by the pool."""
        self._run(session)
        session.ask(self.prompt, self)
        if self._paused:
            session.pause()

    def go_on(self, session: Session, results: Sequence[ToolResultBlock]) -> None:
        """Begin with a session that waits for results; called by the pool."""
        self._run(session)
        self._has_waited = True
        session.go_on(self.prompt, results, self)

    def _run(self, session: Session) -> None:
        self._state = _State.RUNNING
        self._session = session

    def fail(self, error: CCProxyError) -> None:
        """End with an error that is not the session's; told in a later turn."""
        if self._state is not _State.OVER:
            self._leave()
            self._clock.callLater(0, self._listener.receive, [Failed(error)])

    def cancel(self) -> None:
        """Give up: the process is stopped, the listener hears nothing more."""
        if self._state is not _State.OVER:
            self._leave()

    def pause(self) -> None:
        """Stop the answer from coming, until `resume`."""
        self._paused = True
        if self._state is _State.RUNNING and self._session is not None:
            self._session.pause()

    def resume(self) -> None:
        """Let the answer come."""
        self._paused = False
        if self._state is _State.RUNNING and self._session is not None:
            self._session.resume()

    def receive(self, events: Sequence[Event]) -> None:
        """Pass the answer on; called by the session."""
        if self._state is not _State.RUNNING:
            return
        if self._has_waited:
            if isinstance(events[0], Failed) and isinstance(
                events[0].error, ClaudeFailed
            ):
                self._start_anew()
                return
            self._has_waited = False
        if self._recorder is not None:
            self._recorder.receive(events)
        if isinstance(events[-1], Finished | Failed):
            self._leave(events[-1])
        self._listener.receive(events)

    def _start_anew(self) -> None:
        """Ask a new session: the one that waited is gone, and nothing was told."""
        session, self._session = self._session, None
        self._state = _State.QUEUED
        self._has_waited = False
        self._pool.again(self, session)

    def _leave(self, end: Finished | Failed | None = None) -> None:
        self._state = _State.OVER
        session, self._session = self._session, None
        suspension = None
        if session is not None and session.is_suspended and isinstance(end, Finished):
            if self._paused:
                # It waits for the client's tools now, and not for its socket.
                session.resume()
            if self._recorder is not None:
                suspension = self._recorder.suspension(self.prompt, end)
        self._pool.left(self, session, suspension)


def _stopping() -> ShuttingDown:
    return ShuttingDown("the proxy is being stopped; try again when it is back")


def _copy(source: "Deferred[None]") -> "Deferred[None]":
    """A Deferred of its own for one more waiter."""
    waiter: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        waiter.callback(None)

    source.addCallback(fire)
    return waiter
