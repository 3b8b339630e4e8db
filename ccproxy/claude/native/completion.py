"""One question on its way, answered by the CLI's own loop.

==========  =============================================  ==========================
state       what happens                                   next
==========  =============================================  ==========================
QUEUED      it has got a process                           RUNNING
QUEUED      none in time, or the server stops              OVER: an error, told in a
                                                           later turn
RUNNING     the process is lost, and nothing was told      QUEUED, in front; once
RUNNING     the answer is whole, and has to satisfy a      CHECKING, without a process
            schema
RUNNING     the end is told                                OVER
CHECKING    the outcome is there                           OVER
any         cancel                                         OVER: nothing more is told
==========  =============================================  ==========================
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ccproxy.claude.native import events as native
from ccproxy.claude.native.prompt import Prompt
from ccproxy.claude.native.request import StreamTranslator
from ccproxy.claude.native.session import Session, SessionLost
from ccproxy.claude.native.suspension import Recorder, Suspension
from ccproxy.claude.observer import ClaudeObserver, Served
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    InternalError,
    SchemaNotSatisfied,
)
from ccproxy.core.question import Listener
from ccproxy.core.stream import (
    Event,
    Failed,
    FinishReason,
    MessageStart,
    TextDelta,
)
from ccproxy.core.stream import is_token as _is_token


class Checker(Protocol):
    """Compares JSON with a schema, off the reactor."""

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        """What is wrong with an instance; None: nothing."""


class Owner(Protocol):
    """The pool that a question belongs to."""

    def finished(
        self,
        completion: "NativeCompletion",
        session: Session | None,
        suspension: Suspension | None,
    ) -> None:
        """Take a question off the books, and its session back."""

    def retry(self, completion: "NativeCompletion", session: Session) -> None:
        """Give a question a new process, before all others; the one it had is lost."""


class _State(Enum):
    QUEUED = auto()
    RUNNING = auto()
    CHECKING = auto()
    OVER = auto()


class NativeCompletion:
    """One question; what `NativePool.ask` returns.

    Attributes:
        prompt: the question.
        queued_seconds: how long it has waited for its first process.
    """

    _log = Logger()

    def __init__(
        self,
        owner: Owner,
        prompt: Prompt,
        listener: Listener,
        checker: Checker,
        clock: IReactorTime,
        observer: ClaudeObserver,
    ) -> None:
        self.prompt = prompt
        self.queued_seconds = 0.0
        self._owner = owner
        self._listener = listener
        self._checker = checker
        self._clock = clock
        self._observer = observer
        self._recorder = Recorder()
        self._translator = StreamTranslator()
        self._text: list[str] = []
        # Until the first token.
        self._served: Served | None = None
        # Until anything but a retry upstream was told, and not a second time.
        self._can_start_anew = True
        self._was_suspended = False
        self._was_started = False
        self._model = ""
        self._asked_seconds = clock.seconds()
        self._expiry: IDelayedCall | None = None
        self._last_word: IDelayedCall | None = None
        self._check: Deferred[None] | None = None
        self._state = _State.QUEUED
        self._session: Session | None = None
        self._paused = False

    @property
    def is_preparing(self) -> bool:
        """Whether its CLI is still being started, or told what it needs."""
        return self._session is not None and self._session.is_preparing

    @property
    def is_checking(self) -> bool:
        """Whether its answer is whole, and compared with its schema."""
        return self._state is _State.CHECKING

    @property
    def age_seconds(self) -> float:
        """How long ago it was asked."""
        return self._clock.seconds() - self._asked_seconds

    def wait(self, seconds: float, expired: Callable[[], None]) -> None:
        """Wait for a process, but not for ever; called by the queue."""
        if self._expiry is None:
            self._expiry = self._clock.callLater(seconds, self._expire, expired)

    def _expire(self, expired: Callable[[], None]) -> None:
        self._expiry = None
        expired()

    def start(
        self, session: Session, begin: Callable[[], None], served: Served
    ) -> None:
        """Run on a session; called by the pool. ``begin`` puts the question."""
        self._state, self._session, self._served = _State.RUNNING, session, served
        self._was_suspended = served is Served.SUSPENDED
        self._stop_waiting()
        if not self._was_started:
            self._was_started = True
            self.queued_seconds = self.age_seconds
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
        """Give up: the answer is broken off, the listener is told nothing more."""
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

    def receive(self, events: Sequence[native.Event]) -> None:
        """Pass the answer on; called by the session."""
        if self._state is not _State.RUNNING:
            return
        if self._can_start_anew:
            told_something = [e for e in events if not isinstance(e, native.Waiting)]
            if told_something and self._is_lost(told_something[0]):
                self._start_anew()
                return
            self._can_start_anew = not told_something
        self._recorder.receive(events)
        told = self._translator.translate(events)
        self._observe(told)
        end = events[-1]
        if isinstance(end, native.Finished) and self._is_to_be_checked(end):
            self._state = _State.CHECKING
            self._leave_session(end)
            if told[:-1]:
                self._listener.receive(told[:-1])
            # The listener may have given up.
            if self._state is _State.CHECKING:
                self._begin_check(told[-1])
            return
        if isinstance(end, native.Finished | native.Failed):
            self._leave(end)
        if told:
            self._listener.receive(told)

    def _is_lost(self, event: native.Event) -> bool:
        """Whether an answer has failed in a way that another process may mend.

        One that waited for results has a conversation that a new one is told anyway.
        """
        if not isinstance(event, native.Failed):
            return False
        return isinstance(
            event.error, ClaudeFailed if self._was_suspended else SessionLost
        )

    def _start_anew(self) -> None:
        session, self._session = self._session, None
        self._can_start_anew = False
        self._state = _State.QUEUED
        if session is not None:
            if self._paused:
                session.resume()
            self._owner.retry(self, session)

    def _observe(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, TextDelta) and self.prompt.schema is not None:
                self._text.append(event.text)
            elif isinstance(event, MessageStart):
                self._model = event.model
                self._text.clear()
            if self._served is not None and _is_token(event):
                self._observer.answer_begun(self._model, self._served, self.age_seconds)
                self._served = None

    def _is_to_be_checked(self, end: native.Finished) -> bool:
        whole = end.reason is FinishReason.STOP
        return self.prompt.schema is not None and whole

    def _begin_check(self, end: Event) -> None:
        check = Deferred.fromCoroutine(self._compare())
        self._check = check
        check.addCallbacks(
            lambda _: self._checked(end),
            lambda failure: self._check_failed(failure.value),
        )
        check.addErrback(
            lambda failure: self._log.failure("while an answer was told", failure)
        )

    async def _compare(self) -> None:
        schema = msgspec.json.encode(self.prompt.schema)
        problem = await self._checker.problem(schema, "".join(self._text).encode())
        if problem is not None:
            raise SchemaNotSatisfied(
                f"the model's answer does not satisfy the schema: {problem}; try again"
            )

    def _checked(self, end: Event) -> None:
        self._tell_end(end)

    def _check_failed(self, error: BaseException) -> None:
        if isinstance(error, CancelledError):
            return
        if not isinstance(error, CCProxyError):
            self._log.error("an answer could not be checked: {error!r}", error=error)
            error = InternalError("the answer could not be checked")
        self._tell_end(Failed(error))

    def _tell_end(self, end: Event) -> None:
        self._check = None
        if self._state is _State.CHECKING:
            self._leave()
            self._listener.receive([end])

    def _leave_session(self, end: native.Finished | native.Failed | None) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        if self._paused:
            # What it does now is not for this client's socket.
            session.resume()
        suspension = None
        if session.is_suspended and isinstance(end, native.Finished):
            suspension = self._recorder.suspension(self.prompt, end)
        self._owner.finished(self, session, suspension)

    def _leave(self, end: native.Finished | native.Failed | None = None) -> None:
        self._state = _State.OVER
        self._stop_waiting()
        check, self._check = self._check, None
        if check is not None:
            check.cancel()
        if self._session is None:
            self._owner.finished(self, None, None)
        else:
            self._leave_session(end)

    def _stop_waiting(self) -> None:
        expiry, self._expiry = self._expiry, None
        if expiry is not None:
            expiry.cancel()
