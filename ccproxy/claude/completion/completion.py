"""One request, answered by a worker, from `ClaudeBackend.ask` to its end.

==========  ===================================  =======================================
state       event                                next
==========  ===================================  =======================================
QUEUED      a worker is free                     RUNNING
QUEUED      no worker in time, or the server     OVER; the error is sent in a later
            stops                                turn of the reactor
RUNNING     the worker is lost, nothing sent     QUEUED again; once
RUNNING     the provider refuses thinking of     QUEUED again, with a body without
            the conversation, or schemas as      the refused part; once for each
            too complex                          of the two
RUNNING     the complete answer needs a check    CHECKING, without a worker
RUNNING     the shaper asks for a second answer  QUEUED again
RUNNING     the provider pauses the answer       QUEUED again, to continue it
RUNNING     the end is sent                      OVER
CHECKING    the check has an outcome             OVER; or QUEUED again, if a second
                                                 answer is needed
any         cancel                               OVER: nothing more is sent
==========  ===================================  =======================================

A request that is queued again is at the front of the queue. The listener is called only
after `ClaudeBackend.ask` has returned. Its last event is the only `Finished` or
`Failed`.
"""

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.interfaces import IReactorTime
from typing_extensions import override

from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.body.paths import with_client_paths
from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.completion.composer import ComposedQuestion
from ccproxy.claude.completion.pauses import Pauses
from ccproxy.claude.observer import ClaudeObserver, Served
from ccproxy.claude.pool.pool import Pool
from ccproxy.claude.pool.prefix_gate import PrefixGate
from ccproxy.claude.pool.requests import AnswerChecker, AnswerState, PoolClient
from ccproxy.claude.shaping.shaper import AskAgain
from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.backend import Listener
from ccproxy.core.blocks import Opaque, ToolUse
from ccproxy.core.errors import CCProxyError, InternalError, InvalidRequest
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    FinishReason,
    UpstreamRetry,
    Usage,
)

# Stop reasons after which a message is not whole.
_CUT_SHORT = (FinishReason.LENGTH, FinishReason.REFUSAL)


class Completion(PoolClient):
    """One request; `ClaudeBackend.ask` returns it.

    Attributes:
        wants_new: whether the request should get a new worker, because its last worker
            was lost.
    """

    def __init__(
        self,
        question: ComposedQuestion,
        listener: Listener,
        *,
        pool: Pool,
        checker: AnswerChecker,
        answers: RememberedAnswers,
        clock: IReactorTime,
        observer: ClaudeObserver,
        gate: PrefixGate | None = None,
    ) -> None:
        """Make a completion; the caller submits it to the pool.

        Args:
            question: the prepared request.
            listener: receives the answer.
            pool: hands out workers.
            checker: checks answers against schemas.
            answers: remembers the model's messages.
            clock: for time limits and later turns.
            observer: counts answers and their times.
            gate: notified when the answer begins or ends; None: no gate.
        """
        super().__init__(listener, clock, observer)
        self._question = question
        self._composition = question.composition
        self._body = question.composition.body
        self._shaper = question.composition.shaper()
        self._pool = pool
        self._gate = gate
        self._checker = checker
        self._answers = answers
        self._pauses = self._new_pauses()
        # Builds the message that may have to be remembered.
        self._builder = self._new_builder()
        # Whether an event other than `UpstreamRetry` was sent to the listener.
        self._has_sent = False
        # A part is the answer to one request; the shaper may need a second part.
        self._is_first_part = True
        self._part_has_sent = False
        self._part_end: Finished | None = None
        # Usage and costs of the parts before this one.
        self._usage = Usage()
        self._cost_usd = 0.0

    @property
    @override
    def system(self) -> str:
        """The system prompt of the request; empty for none."""
        return self._body.system

    @property
    @override
    def adjusted(self) -> Sequence[str]:
        """As in `PendingRequest`."""
        before = set(self._question.adjusted)
        return [path for path in self._composition.adjusted if path not in before]

    @property
    @override
    def ignored(self) -> Sequence[str]:
        """As in `PendingRequest`."""
        before = set(self._question.ignored)
        return [path for path in self._composition.ignored if path not in before]

    # The pool's side.

    @override
    def start(self, worker: Worker, served: Served) -> None:
        """Send the request to a worker."""
        self._begin(worker, served)
        self._part_has_sent = False
        worker.ask(self._body, self)
        if self._is_paused and self._process is worker:
            worker.pause()

    # The worker's side.

    def receive(self, events: Sequence[Event]) -> None:
        """Take events of the worker."""
        if self._state is not AnswerState.RUNNING:
            return
        end = events[-1]
        if isinstance(end, Failed) and self._try_again(events, end.error):
            return
        if self._pauses is not None:
            events = self._pauses.filter(events)
            if isinstance(end, Finished):
                self._part_end = end
            end = events[-1] if events else end
        if not self._part_has_sent:
            self._part_has_sent = any(not isinstance(e, UpstreamRetry) for e in events)
            if self._part_has_sent and self._gate is not None:
                self._gate.begun(self)
        if self._builder is not None:
            self._builder.receive(events)
        shaper = self._shaper
        shaped = list(events) if shaper is None else shaper.filter(events)
        if isinstance(end, Finished):
            self._part_end = end
        if shaped and isinstance(shaped[-1], Finished | Failed):
            # The shaper may end the answer before the model does.
            self._finish(shaped)
        elif self._pauses is not None and self._pauses.is_paused:
            worker = self._take_process()
            self._send(shaped)
            self._ask(self._pauses.body, worker)
        elif isinstance(end, Finished | Failed):
            self._part_ended(shaped)
        else:
            self._send(shaped)

    def _try_again(self, events: Sequence[Event], error: CCProxyError) -> bool:
        """Queue the request again instead of failing, if a retry may help.

        Returns:
            Whether the request is queued again.
        """
        is_nothing_sent = not self._has_sent and all(
            isinstance(event, UpstreamRetry) for event in events[:-1]
        )
        if not is_nothing_sent or (self._part_has_sent and not self._is_first_part):
            return False
        if isinstance(error, WorkerLost) and not self.wants_new:
            self.wants_new = True
        elif isinstance(error, InvalidRequest) and self._is_first_part:
            simpler = self._composition.without_refused(error.message)
            if simpler is None:
                return False
            self._composition, self._body = simpler, simpler.body
        else:
            return False
        if self._is_first_part:
            self._shaper = self._composition.shaper()
            self._pauses = self._new_pauses()
            self._builder = self._new_builder()
        self._state = AnswerState.QUEUED
        is_lost = isinstance(error, WorkerLost)
        self._pool.retry(self, self._take_process(), is_lost=is_lost)
        return True

    def _part_ended(self, shaped: list[Event]) -> None:
        """A part has ended: finish, send a second request, or check."""
        pending = None if self._shaper is None else self._shaper.pending
        if pending is None:
            self._finish(shaped)
            return
        worker = self._take_process()
        if isinstance(pending, AskAgain):
            self._send(shaped)
            self._ask_again(pending, worker)
            return
        self._state = AnswerState.CHECKING
        if worker is not None:
            self._pool.release(worker)
        self._send(shaped)
        if self._state is AnswerState.CHECKING:
            found = self._checker.problem(pending.schema, pending.instance)
            self._begin_check(found)

    def _finish(self, shaped: list[Event]) -> None:
        if not shaped or not isinstance(shaped[-1], Finished | Failed):
            self._log.error("the shaped answer has no end")
            shaped = [*shaped, Failed(InternalError("the answer has no end"))]
        end = shaped[-1]
        if isinstance(end, Finished):
            self._remember(end)
        self._leave(
            is_lost=isinstance(end, Failed) and isinstance(end.error, WorkerLost)
        )
        self._send(shaped)

    def _ask_again(self, pending: AskAgain, worker: Worker | None = None) -> None:
        self._builder = None
        self._ask(pending.body, worker)
        self._pauses = self._new_pauses()

    def _ask(self, body: ComposedBody, worker: Worker | None) -> None:
        """Send a further request, whose answer is the next part."""
        if self._state is AnswerState.OVER:
            # The listener has cancelled in the meantime.
            if worker is not None:
                self._pool.release(worker)
            return
        if self._part_end is not None:
            self._usage += self._part_end.usage
            self._cost_usd += self._part_end.cost_usd or 0.0
        self._part_end = None
        self._is_first_part = False
        self._body = body
        self._state = AnswerState.QUEUED
        self._pool.retry(self, worker)

    @override
    def _checked(self, problem: str | None) -> None:
        shaped = [] if self._shaper is None else self._shaper.checked(problem)
        if shaped and isinstance(shaped[-1], Finished | Failed):
            self._finish(shaped)
        else:
            self._part_ended(shaped)

    @override
    def _check_failed(self, error: CCProxyError) -> None:
        self._finish([Failed(error)])

    # Sending.

    def _send(self, events: list[Event]) -> None:
        if not events or (self._state is AnswerState.OVER and self._is_cancelled):
            return
        if not self._has_token:
            self._note_token(events)
        end = events[-1]
        if isinstance(end, Failed):
            error = with_client_paths(end.error, self._body.client_path)
            events = [*events[:-1], Failed(error)]
        elif isinstance(end, Finished) and not self._is_first_part:
            events = [*events[:-1], self._summed(end)]
        if not self._has_sent:
            self._has_sent = any(not isinstance(e, UpstreamRetry) for e in events)
        self._listener.receive(events)

    def _summed(self, end: Finished) -> Finished:
        """The end, with usage and costs of all parts."""
        cost = None if end.cost_usd is None else self._cost_usd + end.cost_usd
        return evolve(end, usage=self._usage + end.usage, cost_usd=cost)

    def _remember(self, end: Finished) -> None:
        """Remember a message with calls; the turn of the results needs its thinking.

        For OpenAI's APIs, messages with results of the provider's tools are remembered,
        too: these clients cannot send such results back.
        """
        builder = self._builder
        if builder is None or end.reason in _CUT_SHORT:
            return
        kinds = (ToolUse, Opaque) if self._question.request.web_searches else ToolUse
        if not any(isinstance(block.value, kinds) for block in builder.blocks):
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
        request = self._question.request
        return MessageBuilder() if request.tools or request.web_searches else None

    def _new_pauses(self) -> Pauses | None:
        request = self._question.request
        may_pause = request.continues_pauses and request.web_searches
        return Pauses(self._body) if may_pause else None

    # The end.

    @override
    def _leave(self, *, is_lost: bool = False) -> None:
        self._end()
        if self._gate is not None:
            self._gate.left(self)
        self._pool.finished(self, self._take_process(), is_lost=is_lost)
