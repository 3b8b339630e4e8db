"""One request of native mode, from `NativePool.ask` to its end.

==========  =========================================  ==============================
state       event                                      next
==========  =========================================  ==============================
QUEUED      a process is free                          RUNNING
QUEUED      no process in time, or the server stops    OVER: an error, sent later
RUNNING     the process is lost before any event       QUEUED, at the front; once
RUNNING     the answer is whole and has a schema       CHECKING, without a process
RUNNING     the end is sent                            OVER
CHECKING    the check has an outcome                   OVER
any         cancel                                     OVER: nothing more is sent
==========  =========================================  ==============================
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.interfaces import IReactorTime
from typing_extensions import override

from ccproxy.claude.native.prompt import Prompt
from ccproxy.claude.native.session import Session, SessionLost
from ccproxy.claude.native.suspension import suspension_after
from ccproxy.claude.observer import ClaudeObserver, Served
from ccproxy.claude.pool.requests import AnswerChecker, AnswerState, PendingAnswer
from ccproxy.claude.shaping.stops import StopShaper
from ccproxy.core.backend import Listener
from ccproxy.core.errors import CCProxyError, ClaudeFailed, SchemaNotSatisfied
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import Event, Failed, Finished, FinishReason, UpstreamRetry

if TYPE_CHECKING:
    from ccproxy.claude.native.pool import NativePool


class NativeCompletion(PendingAnswer[Session]):
    """One request; `NativePool.ask` returns it.

    Attributes:
        prompt: the request as it is sent to the CLI.
    """

    def __init__(
        self,
        pool: "NativePool",
        prompt: Prompt,
        listener: Listener,
        checker: AnswerChecker,
        clock: IReactorTime,
        observer: ClaudeObserver,
    ) -> None:
        super().__init__(listener, clock, observer)
        self.prompt = prompt
        self._pool = pool
        self._checker = checker
        self._stops = StopShaper(prompt.blank_stops) if prompt.blank_stops else None
        self._message = MessageBuilder()
        # The end, held back until the answer is checked.
        self._finished: Finished | None = None
        # Whether a lost process may be replaced: only once, and only before an event
        # other than `UpstreamRetry` was sent.
        self._can_retry = True
        self._was_suspended = False

    @property
    def is_checking(self) -> bool:
        """Whether the whole answer is being checked against its schema."""
        return self._state is AnswerState.CHECKING

    def start(
        self, session: Session, begin: Callable[[], None], served: Served
    ) -> None:
        """Use a session for this request; ``begin`` sends the question to it."""
        self._was_suspended = served is Served.SUSPENDED
        self._begin(session, served)
        begin()
        if self._is_paused and self._process is session:
            session.pause()

    def receive(self, events: Sequence[Event]) -> None:
        """Take a part of the answer; called by the session."""
        if self._state is not AnswerState.RUNNING:
            return
        if self._can_retry:
            sent = [e for e in events if not isinstance(e, UpstreamRetry)]
            if sent and self._is_lost(sent[0]):
                self._retry()
                return
            self._can_retry = not sent
        if self._stops is not None:
            events = self._stops.filter(events)
            if not events:
                return
        self._message.receive(events)
        if not self._has_token:
            self._note_token(events)
        end = events[-1]
        if isinstance(end, Finished) and self._is_to_be_checked(end):
            self._finished = end
            self._check_answer(events[:-1])
            return
        if isinstance(end, Finished | Failed):
            self._leave()
        self._listener.receive(events)

    def _is_lost(self, event: Event) -> bool:
        """Whether the answer has failed because of the process, not of the request.

        For a suspended process, any `ClaudeFailed` counts: a new process can get the
        whole conversation.
        """
        lost = ClaudeFailed if self._was_suspended else SessionLost
        return isinstance(event, Failed) and isinstance(event.error, lost)

    def _retry(self) -> None:
        session = self._take_process()
        self._can_retry = False
        self._state = AnswerState.QUEUED
        if session is not None:
            self._pool.retry(self, session)

    # The schema.

    def _is_to_be_checked(self, end: Finished) -> bool:
        return self.prompt.schema is not None and end.reason is FinishReason.STOP

    def _check_answer(self, events: Sequence[Event]) -> None:
        """Send all events except the end, and check the answer against its schema."""
        self._state = AnswerState.CHECKING
        self._give_back()
        if events:
            self._listener.receive(events)
        # The listener may have cancelled.
        if self._state is AnswerState.CHECKING:
            schema = msgspec.json.encode(self.prompt.schema)
            text = self._message.text.encode()
            self._begin_check(self._checker.problem(schema, text))

    @override
    def _checked(self, problem: str | None) -> None:
        if problem is not None:
            self._check_failed(
                SchemaNotSatisfied(
                    "the model's answer does not satisfy the schema: "
                    f"{problem}; try again"
                )
            )
        elif self._finished is not None:
            self._send_end(self._finished)

    @override
    def _check_failed(self, error: CCProxyError) -> None:
        self._send_end(Failed(error))

    def _send_end(self, end: Event) -> None:
        self._leave()
        self._listener.receive([end])

    # The end.

    def _give_back(self) -> None:
        """Give the session back to the pool, which may keep it suspended."""
        session = self._take_process()
        if session is None:
            self._pool.finished(self, None, None)
            return
        suspension = None
        if session.is_suspended:
            suspension = suspension_after(self.prompt, self._message)
        self._pool.finished(self, session, suspension)

    @override
    def _leave(self) -> None:
        self._end()
        self._give_back()
