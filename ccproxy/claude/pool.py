"""Who is served by which CLI, and when.

Today each question gets a CLI of its own. A question waits, first come first
served, while as many processes as allowed are there; a process counts until it
is reaped. Keeping sessions and choosing among them belongs here and nowhere
else.

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
from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError, ShuttingDown
from ccproxy.events import Event, Failed, Finished


class _State(Enum):
    QUEUED = auto()
    RUNNING = auto()
    OVER = auto()


class Pool:
    """Hands out CLIs.

    Args:
        new_session: starts a CLI; raises `CCProxyError` if it cannot.
        max_processes: how many there may be at one time.
    """

    def __init__(
        self,
        new_session: Callable[[], Session],
        clock: IReactorTime,
        max_processes: int,
    ) -> None:
        self._new_session = new_session
        self._clock = clock
        self._max_processes = max_processes
        self._queue: deque[Ask] = deque()
        self._running: set[Ask] = set()
        # Sessions that are being stopped still count as processes.
        self._closing: dict[Session, Deferred[None]] = {}
        self._stopped = False

    def ask(self, prompt: Prompt, listener: Listener) -> "Ask":
        """Put a question; the listener is told everything, but never from within."""
        ask = Ask(self, prompt, listener, self._clock)
        if self._stopped:
            ask.fail(_stopping())
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
        while self._queue and self._has_room():
            ask = self._queue.popleft()
            try:
                session = self._new_session()
            except CCProxyError as error:
                ask.fail(error)
            else:
                self._running.add(ask)
                ask.start(session)

    def _has_room(self) -> bool:
        return len(self._running) + len(self._closing) < self._max_processes

    def left(self, ask: "Ask", session: Session | None) -> None:
        """Take a question off the books; called by the question."""
        self._running.discard(ask)
        if ask in self._queue:
            self._queue.remove(ask)
        if session is not None:
            self.retire(session)


class Ask:
    """One question on its way; what `Pool.ask` returns."""

    def __init__(
        self, pool: Pool, prompt: Prompt, listener: Listener, clock: IReactorTime
    ) -> None:
        self._pool = pool
        self._prompt = prompt
        self._listener = listener
        self._clock = clock
        self._state = _State.QUEUED
        self._session: Session | None = None
        self._paused = False

    def start(self, session: Session) -> None:
        """Begin with a session of one's own; called by the pool."""
        self._state = _State.RUNNING
        self._session = session
        session.ask(self._prompt, self)
        if self._paused:
            session.pause()

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
        if isinstance(events[-1], Finished | Failed):
            self._leave()
        self._listener.receive(events)

    def _leave(self) -> None:
        self._state = _State.OVER
        session, self._session = self._session, None
        self._pool.left(self, session)


def _stopping() -> ShuttingDown:
    return ShuttingDown("the proxy is being stopped; try again when it is back")


def _copy(source: "Deferred[None]") -> "Deferred[None]":
    """A Deferred of its own for one more waiter."""
    waiter: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        waiter.callback(None)

    source.addCallback(fire)
    return waiter
