"""One question of a client's, from `Backend.ask` to its end.

==========  ===================================  =======================================
state       what happens                         next
==========  ===================================  =======================================
QUEUED      a worker is there                    RUNNING
QUEUED      none in time, or the server stops    OVER: an error, told in a later turn
RUNNING     the worker is lost, nothing told     QUEUED, in front; once
RUNNING     the provider takes no thinking of    QUEUED, in front, with a body that has
            another conversation                 none; once
RUNNING     the answer is whole, to be checked   CHECKING, without a worker
RUNNING     the answer is to be asked for again  QUEUED, in front
RUNNING     the end is told                      OVER
CHECKING    the check's outcome                  OVER, or QUEUED in front
any         cancel                               OVER: nothing more is told
==========  ===================================  =======================================

The listener is never called from within `Backend.ask`, and its last event is the only
`Finished` or `Failed`.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.completion.error_paths import with_client_paths
from ccproxy.claude.completion.question import ComposedQuestion
from ccproxy.claude.observer import ClaudeObserver, Served
from ccproxy.claude.shaping.shaper import AskAgain, SchemaCheck
from ccproxy.claude.worker.worker import Worker, WorkerLost
from ccproxy.core.errors import CCProxyError, InternalError, InvalidRequest
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.messages import ToolUse
from ccproxy.core.question import Listener
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStart,
    UpstreamRetry,
    Usage,
    is_token,
)

# The provider's own words for thinking that was signed for another conversation; see
# rule 25 of the Messages API's.
_BOUND_ELSEWHERE = "bound to a different conversation"
# Ends behind which a message is not what the model wanted to say.
_CUT_SHORT = (FinishReason.LENGTH, FinishReason.REFUSAL)


class Checker(Protocol):
    """Compares answers with schemas, off the reactor."""

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        """What is wrong with an instance; None: nothing.

        Raises:
            CCProxyError: it could not be checked.
        """


class Owner(Protocol):
    """The pool, as a question needs it."""

    def submit(self, client: "Completion") -> None:
        """Take a question."""

    def retry(
        self,
        client: "Completion",
        worker: Worker | None = None,
        *,
        is_lost: bool = False,
    ) -> None:
        """Give a question another worker, before all others."""

    def release(self, worker: Worker) -> None:
        """Take back a worker whose question goes on without one for now."""

    def finished(
        self, client: "Completion", worker: Worker | None, *, is_lost: bool = False
    ) -> None:
        """Forget a question that is over; take back its worker, if it has one."""


class _State(Enum):
    QUEUED = auto()
    RUNNING = auto()
    CHECKING = auto()
    OVER = auto()


class Completion:
    """One question; what `Backend.ask` returns.

    Attributes:
        queued_seconds: how long it has waited for its first worker.
        wants_new: whether a worker that has not answered before is better.
    """

    _log = Logger()

    def __init__(
        self,
        question: ComposedQuestion,
        listener: Listener,
        *,
        owner: Owner,
        checker: Checker,
        answers: RememberedAnswers,
        clock: IReactorTime,
        observer: ClaudeObserver,
    ) -> None:
        """Make a completion, to be submitted to its owner.

        Args:
            question: what is asked.
            listener: told the answer.
            owner: the pool.
            checker: compares answers with schemas.
            answers: keeps the model's messages.
            clock: for time limits and later turns.
            observer: counts.
        """
        self.queued_seconds = 0.0
        self.wants_new = False
        self._question = question
        self._composition = question.composition
        self._body = question.composition.body
        self._shaper = question.composition.shaper()
        self._listener = listener
        self._owner = owner
        self._checker = checker
        self._answers = answers
        self._clock = clock
        self._observer = observer
        # Takes the model's message, if it may have to be remembered.
        self._builder = self._new_builder()
        self._state = _State.QUEUED
        self._worker: Worker | None = None
        self._was_started = False
        self._is_paused = False
        self._is_cancelled = False
        # Whether the listener knows of any message.
        self._has_told = False
        # A part is one worker's answer; whether the shaper knows of any message of it.
        self._is_first_part = True
        self._is_unheard = True
        self._part_end: Finished | None = None
        # What the parts before this one have cost.
        self._usage = Usage()
        self._cost_usd = 0.0
        # For the time of the first token.
        self._has_token = False
        self._served: Served | None = None
        self._model = ""
        self._asked_seconds = clock.seconds()
        self._expiry: IDelayedCall | None = None
        self._last_word: IDelayedCall | None = None
        self._check: Deferred[str | None] | None = None

    @property
    def system(self) -> str:
        """The system prompt that its worker needs; empty for none."""
        return self._body.system

    @property
    def age_seconds(self) -> float:
        """How long ago it was asked."""
        return self._clock.seconds() - self._asked_seconds

    # The pool's side.

    def wait(self, seconds: float, expired: Callable[[], None]) -> None:
        """Wait for a worker, but not for ever."""
        if self._expiry is None:
            self._expiry = self._clock.callLater(seconds, self._expire, expired)

    def start(self, worker: Worker, served: Served) -> None:
        """Ask a worker."""
        self._stop_waiting()
        self._state, self._worker = _State.RUNNING, worker
        self._is_unheard = True
        if not self._was_started:
            self._was_started = True
            self.queued_seconds = self.age_seconds
            self._observer.question_served(served, self.queued_seconds)
        if not self._has_token:
            self._served = served
        worker.ask(self._body, self)
        if self._is_paused and self._worker is worker:
            worker.pause()

    def fail(self, error: CCProxyError) -> None:
        """End with an error of the proxy's own; told in a later turn."""
        if self._state is not _State.OVER:
            self._leave()
            self._last_word = self._clock.callLater(0, self._tell_failed, error)

    # The client's side.

    def cancel(self) -> None:
        """Give up: the answer is broken off, the listener hears nothing more."""
        self._is_cancelled = True
        last_word, self._last_word = self._last_word, None
        if last_word is not None:
            last_word.cancel()
        if self._state is not _State.OVER:
            self._leave()

    def pause(self) -> None:
        """Stop the answer from coming, until `resume`."""
        self._is_paused = True
        if self._worker is not None:
            self._worker.pause()

    def resume(self) -> None:
        """Let the answer come."""
        self._is_paused = False
        if self._worker is not None:
            self._worker.resume()

    # The worker's side.

    def receive(self, events: Sequence[Event]) -> None:
        """Take a part of the answer; the last part ends with the worker's end."""
        if self._state is not _State.RUNNING:
            return
        end = events[-1]
        if isinstance(end, Failed) and self._is_repeated(events, end.error):
            return
        if self._is_unheard:
            self._is_unheard = all(isinstance(e, UpstreamRetry) for e in events)
        if self._builder is not None:
            self._builder.receive(events)
        told = self._shaper.filter(events)
        if isinstance(end, Finished):
            self._part_end = end
        if told and isinstance(told[-1], Finished | Failed):
            # Which may be before the model's own end.
            self._end(told)
        elif isinstance(end, Finished | Failed):
            self._go_on(told)
        else:
            self._tell(told)

    def _is_repeated(self, events: Sequence[Event], error: CCProxyError) -> bool:
        """Ask once more instead of failing, if that may help; tells whether."""
        is_nothing_told = not self._has_told and all(
            isinstance(event, UpstreamRetry) for event in events[:-1]
        )
        if not is_nothing_told or not (self._is_first_part or self._is_unheard):
            return False
        if isinstance(error, WorkerLost) and not self.wants_new:
            self.wants_new = True
        elif isinstance(error, InvalidRequest) and _BOUND_ELSEWHERE in error.message:
            plain = self._composition.without_thinking()
            if plain is None or not self._is_first_part:
                return False
            self._composition, self._body = plain, plain.body
        else:
            return False
        if self._is_first_part:
            self._shaper = self._composition.shaper()
            self._builder = self._new_builder()
        self._state = _State.QUEUED
        is_lost = isinstance(error, WorkerLost)
        self._owner.retry(self, self._take_worker(), is_lost=is_lost)
        return True

    def _go_on(self, told: list[Event]) -> None:
        """A part of the answer is over: see what the shaper makes of that."""
        pending = self._shaper.pending
        if pending is None:
            self._end(told)
            return
        worker = self._take_worker()
        if isinstance(pending, AskAgain):
            self._tell(told)
            self._ask_again(pending, worker)
            return
        self._state = _State.CHECKING
        if worker is not None:
            self._owner.release(worker)
        self._tell(told)
        if self._state is _State.CHECKING:
            self._begin_check(pending)

    def _end(self, told: list[Event]) -> None:
        if not told or not isinstance(told[-1], Finished | Failed):
            self._log.error("an answer was shaped so that it has no end")
            told = [*told, Failed(InternalError("the answer has no end"))]
        end = told[-1]
        if isinstance(end, Finished):
            self._remember(end)
        self._leave(
            is_lost=isinstance(end, Failed) and isinstance(end.error, WorkerLost)
        )
        self._tell(told)

    def _ask_again(self, pending: AskAgain, worker: Worker | None = None) -> None:
        if self._state is _State.OVER:
            # The listener has given up meanwhile.
            if worker is not None:
                self._owner.release(worker)
            return
        if self._part_end is not None:
            self._usage += self._part_end.usage
            self._cost_usd += self._part_end.cost_usd or 0.0
        self._part_end, self._builder = None, None
        self._is_first_part = False
        self._body = pending.body
        self._state = _State.QUEUED
        self._owner.retry(self, worker)

    def _begin_check(self, pending: SchemaCheck) -> None:
        found = self._checker.problem(pending.schema, pending.instance)
        check = self._check = Deferred.fromCoroutine(found)
        outcome = check.addCallbacks(self._checked, self._not_checked)
        outcome.addErrback(self._told_in_vain)

    def _checked(self, problem: str | None) -> None:
        self._check = None
        told = self._shaper.checked(problem)
        if told and isinstance(told[-1], Finished | Failed):
            self._end(told)
        else:
            self._go_on(told)

    def _not_checked(self, failure: Failure) -> None:
        self._check = None
        if self._state is not _State.CHECKING:
            # It was given up, and the check with it.
            failure.trap(CancelledError, CCProxyError)
            return
        error = failure.value
        if not isinstance(error, CCProxyError):
            self._log.failure("an answer could not be checked", failure)
            error = InternalError("the answer could not be checked")
        self._end([Failed(error)])

    def _told_in_vain(self, failure: Failure) -> None:
        self._log.failure("the end of an answer could not be told", failure)

    # What is told.

    def _tell(self, events: list[Event]) -> None:
        if not events or (self._state is _State.OVER and self._is_cancelled):
            return
        self._note_token(events)
        end = events[-1]
        if isinstance(end, Failed):
            error = with_client_paths(end.error, self._body.paths)
            events = [*events[:-1], Failed(error)]
        elif isinstance(end, Finished) and not self._is_first_part:
            events = [*events[:-1], self._summed(end)]
        if not self._has_told:
            self._has_told = any(not isinstance(e, UpstreamRetry) for e in events)
        self._listener.receive(events)

    def _summed(self, end: Finished) -> Finished:
        """The end, with the use of all parts."""
        cost = None if end.cost_usd is None else self._cost_usd + end.cost_usd
        return evolve(end, usage=self._usage + end.usage, cost_usd=cost)

    def _tell_failed(self, error: CCProxyError) -> None:
        self._last_word = None
        self._listener.receive([Failed(error)])

    def _note_token(self, events: Sequence[Event]) -> None:
        if self._has_token:
            return
        for event in events:
            if isinstance(event, MessageStart):
                self._model = event.model
            elif is_token(event) and self._served is not None:
                self._has_token = True
                self._observer.answer_begun(self._model, self._served, self.age_seconds)
                return

    def _remember(self, end: Finished) -> None:
        """Keep what the model has said before its calls, above all its thinking."""
        builder = self._builder
        if builder is None or end.reason in _CUT_SHORT:
            return
        if not any(isinstance(block.value, ToolUse) for block in builder.blocks):
            return
        if builder.is_whole and self._composition.is_remembered:
            self._answers.remember(
                self._question.owner,
                self._composition.prefix,
                builder.blocks,
                builder.model,
                self._clock.seconds(),
                is_shared=self._question.request.may_be_kept,
            )

    def _new_builder(self) -> MessageBuilder | None:
        return MessageBuilder() if self._question.request.tools else None

    # Its end.

    def _leave(self, *, is_lost: bool = False) -> None:
        self._state = _State.OVER
        self._stop_waiting()
        check, self._check = self._check, None
        if check is not None:
            check.cancel()
        self._owner.finished(self, self._take_worker(), is_lost=is_lost)

    def _take_worker(self) -> Worker | None:
        worker, self._worker = self._worker, None
        if worker is not None and self._is_paused:
            # What it does now is not for this client's socket.
            worker.resume()
        return worker

    def _expire(self, expired: Callable[[], None]) -> None:
        self._expiry = None
        expired()

    def _stop_waiting(self) -> None:
        expiry, self._expiry = self._expiry, None
        if expiry is not None:
            expiry.cancel()
