"""One question on its way.

=========  ==============================================================
QUEUED     waits for a CLI
RUNNING    has a session
OVER       answered, failed or cancelled
=========  ==============================================================
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.native.audience import TOKENS, Listener
from ccproxy.claude.native.session import Session
from ccproxy.claude.native.suspension import Recorder, Suspension
from ccproxy.claude.native.transcript import Reuse, fingerprints
from ccproxy.claude.observer import Observer, Served
from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError, ClaudeFailed
from ccproxy.events import Event, Failed, Finished, MessageStarted


class Desk(Protocol):
    """Who serves questions."""

    def left(
        self, ask: "Ask", session: Session | None, suspension: Suspension | None
    ) -> None:
        """Take a question off the books.

        Args:
            ask: the question.
            session: which has answered it, or was about to.
            suspension: what the session waits for, if it does.
        """

    def again(self, ask: "Ask", session: Session | None, use: Reuse) -> None:
        """Put a question to a new CLI: the one that it was put to is of no use."""

    def proved(self, use: Reuse) -> None:
        """Note that a CLI that was used again answers."""


class _State(Enum):
    QUEUED = auto()
    RUNNING = auto()
    OVER = auto()


class Ask:
    """One question on its way; what `Pool.ask` returns.

    Attributes:
        prompt: the question.
        needs_new: whether only a CLI will do that has not been asked before.
        queued_seconds: how long it has waited for a CLI.
    """

    def __init__(
        self,
        desk: Desk,
        prompt: Prompt,
        listener: Listener,
        clock: IReactorTime,
        observer: Observer,
    ) -> None:
        self.prompt = prompt
        self.needs_new = False
        self.queued_seconds = 0.0
        self._desk = desk
        # Only who can call has something to wait for.
        self._recorder = Recorder() if prompt.tools else None
        self._use = Reuse.OFF
        self._listener = listener
        self._observer = observer
        # Until the first token.
        self._served: Served | None = None
        self._model = ""
        self._clock = clock
        self._asked_seconds = clock.seconds()
        self._patience: IDelayedCall | None = None
        self._last_word: IDelayedCall | None = None
        self._prints: Sequence[bytes] | None = None
        self._state = _State.QUEUED
        self._session: Session | None = None
        self._paused = False

    @property
    def prints(self) -> Sequence[bytes]:
        """The fingerprints of the question's turns."""
        if self._prints is None:
            self._prints = fingerprints(self.prompt)
        return self._prints

    @property
    def is_preparing(self) -> bool:
        """Whether its CLI is still being started, or told what it needs."""
        return self._session is not None and self._session.is_preparing

    @property
    def age_seconds(self) -> float:
        """How long ago it was asked."""
        return self._clock.seconds() - self._asked_seconds

    def wait(self, seconds: float, expired: Callable[["Ask"], None]) -> None:
        """Wait for a CLI, but not for ever; called by the desk."""
        if self._patience is None:
            self._patience = self._clock.callLater(seconds, self._expire, expired)

    def _expire(self, expired: Callable[["Ask"], None]) -> None:
        self._patience = None
        expired(self)

    def start(
        self,
        session: Session,
        begin: Callable[[], None],
        served: Served,
        use: Reuse,
    ) -> None:
        """Run on a session; called by the desk.

        Args:
            session: whose listener this is.
            begin: puts the question.
            served: what the session was before.
            use: what the session is used for; it may turn out to be of no use for
                that, and as long as nothing was told the client need not know.
        """
        self._state = _State.RUNNING
        self._session = session
        self._use = use
        self._stop_waiting()
        self.queued_seconds = self.age_seconds
        self._served = served
        self._observer.question_served(served, self.queued_seconds)
        begin()
        if self._paused and self._state is _State.RUNNING:
            session.pause()

    def fail(self, error: CCProxyError) -> None:
        """End with an error that is not the session's; told in a later turn."""
        if self._state is not _State.OVER:
            self._leave()
            self._last_word = self._clock.callLater(0, self._tell_failed, error)

    def _tell_failed(self, error: CCProxyError) -> None:
        self._last_word = None
        self._listener.receive([Failed(error)])

    def cancel(self) -> None:
        """Give up: the answer is broken off, the listener hears nothing more."""
        last_word, self._last_word = self._last_word, None
        if last_word is not None:
            last_word.cancel()
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
        if self._use is not Reuse.OFF:
            if isinstance(events[0], Failed) and isinstance(
                events[0].error, ClaudeFailed
            ):
                self._start_anew()
                return
            self._desk.proved(self._use)
            self._use = Reuse.OFF
        if self._served is not None:
            self._await_token(self._served, events)
        if self._recorder is not None:
            self._recorder.receive(events)
        if isinstance(events[-1], Finished | Failed):
            self._leave(events[-1])
        self._listener.receive(events)

    def _await_token(self, served: Served, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, MessageStarted):
                self._model = event.model
            elif isinstance(event, TOKENS):
                self._observer.answer_begun(self._model, served, self.age_seconds)
                self._served = None
                return

    def _start_anew(self) -> None:
        session, self._session = self._session, None
        self._state = _State.QUEUED
        use, self._use = self._use, Reuse.OFF
        self.needs_new = True
        self._desk.again(self, session, use)

    def _leave(self, end: Finished | Failed | None = None) -> None:
        self._state = _State.OVER
        self._stop_waiting()
        session, self._session = self._session, None
        suspension = None
        if session is not None:
            if self._paused:
                # What it does now is not for this client's socket.
                session.resume()
            if (
                session.is_suspended
                and isinstance(end, Finished)
                and self._recorder is not None
            ):
                suspension = self._recorder.suspension(self.prompt, end)
        self._desk.left(self, session, suspension)

    def _stop_waiting(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.cancel()
