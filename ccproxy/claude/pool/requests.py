"""Pending requests, and the queue in which they wait for a process.

The states of a request:

========  =====================================================================
QUEUED    waits for a process
RUNNING   a process answers
CHECKING  the answer is whole and is checked against its schema, without a process
OVER      the last event was sent, or the client cancelled
========  =====================================================================

The queue is first come, first served. Its length and the waiting time are limited.
"""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ccproxy.claude.observer import ClaudeObserver, Served
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.backend import Listener
from ccproxy.core.errors import (
    Cause,
    CCProxyError,
    InternalError,
    QueueFull,
    ShuttingDown,
)
from ccproxy.core.stream import Event, Failed, MessageStart, is_token

# Bounds of `Retry-After`.
_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
# Weight of the newest answer in the moving average of answer times.
_NEWEST = 0.2
# Counts of tokens get at most one process in four. Answers get the others.
_COUNTS_SHARE = 4


class AnswerState(Enum):
    """The state of a request; the module explains the values."""

    QUEUED = auto()
    RUNNING = auto()
    CHECKING = auto()
    OVER = auto()


class AnswerChecker(Protocol):
    """Checks answers against schemas without blocking the reactor."""

    async def problem(self, schema: bytes, instance: bytes) -> str | None:
        """The reason why an instance is invalid; None: it is valid.

        Raises:
            CCProxyError: the instance could not be checked.
        """


class Pausable(Protocol):
    """A process whose output can be paused."""

    def pause(self) -> None:
        """Stop reading the output of the process."""

    def resume(self) -> None:
        """Continue reading."""


_Process = TypeVar("_Process", bound=Pausable)


class PendingAnswer(Generic[_Process]):
    """A request whose answer is not over; subclasses send the request to a process.

    Attributes:
        queued_seconds: the time for which the request has waited for its first process.
        is_count: whether the request only counts tokens.
    """

    is_count = False
    _log = Logger()

    def __init__(
        self, listener: Listener, clock: IReactorTime, observer: ClaudeObserver
    ) -> None:
        self.queued_seconds = 0.0
        self._listener = listener
        self._clock = clock
        self._observer = observer
        self._state = AnswerState.QUEUED
        self._process: _Process | None = None
        self._is_paused = False
        self._is_cancelled = False
        self._asked_seconds = clock.seconds()
        self._expiry: IDelayedCall | None = None
        self._last_word: IDelayedCall | None = None
        self._check: Deferred[str | None] | None = None
        # The kind of process, for the report of the first token; None: none yet.
        self._served: Served | None = None
        self._model = ""
        self._was_started = False
        self._has_token = False

    @property
    def adjusted(self) -> Sequence[str]:
        """As in `PendingRequest`."""
        return ()

    @property
    def ignored(self) -> Sequence[str]:
        """As in `PendingRequest`."""
        return ()

    @property
    def age_seconds(self) -> float:
        """The time since the request arrived."""
        return self._clock.seconds() - self._asked_seconds

    # The pool's side.

    def wait(self, seconds: float, expired: Callable[[], None]) -> None:
        """Call ``expired`` if no process was found after ``seconds``."""
        if self._expiry is None:
            self._expiry = self._clock.callLater(seconds, self._expire, expired)

    def fail(self, error: CCProxyError) -> None:
        """End the answer with an error; it is sent in a later turn of the reactor."""
        if self._state is not AnswerState.OVER:
            self._leave()
            self._last_word = self._clock.callLater(0, self._send_failed, error)

    # The client's side.

    def cancel(self) -> None:
        """Abort the answer; the listener gets no more events."""
        self._is_cancelled = True
        last_word, self._last_word = self._last_word, None
        if last_word is not None:
            last_word.cancel()
        if self._state is not AnswerState.OVER:
            self._leave()

    def pause(self) -> None:
        """Stop sending the answer until `resume`."""
        self._is_paused = True
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        """Continue sending the answer."""
        self._is_paused = False
        if self._process is not None:
            self._process.resume()

    # What subclasses need.

    def _leave(self) -> None:
        """Leave the pool, and return the process to it."""
        raise NotImplementedError

    def _checked(self, problem: str | None) -> None:
        """Take the outcome of `_begin_check`; None: the schema is satisfied."""
        raise NotImplementedError

    def _check_failed(self, error: CCProxyError) -> None:
        """Take the error of a check that could not be done."""
        raise NotImplementedError

    def _begin(self, process: _Process, served: Served) -> None:
        """Note that a process answers from now on."""
        self._stop_waiting()
        self._state, self._process = AnswerState.RUNNING, process
        if not self._was_started:
            self._was_started = True
            self.queued_seconds = self.age_seconds
            self._observer.question_served(served, self.queued_seconds)
        if not self._has_token:
            self._served = served

    def _take_process(self) -> _Process | None:
        """Detach the process, and resume reading its pipe."""
        process, self._process = self._process, None
        if process is not None and self._is_paused:
            # The next output of the process is for another client.
            process.resume()
        return process

    def _end(self) -> None:
        """Enter the state OVER; stops the timer and the check."""
        self._state = AnswerState.OVER
        self._stop_waiting()
        check, self._check = self._check, None
        if check is not None:
            check.cancel()

    def _note_token(self, events: Sequence[Event]) -> None:
        """Measure the time to the first token; must not be called after that token."""
        for event in events:
            if isinstance(event, MessageStart):
                self._model = event.model
            elif is_token(event) and self._served is not None:
                self._has_token = True
                self._observer.answer_begun(self._model, self._served, self.age_seconds)
                return

    def _begin_check(self, problem: "Coroutine[Any, Any, str | None]") -> None:
        """Wait for a check against a schema; `_checked` gets the outcome."""
        check = self._check = Deferred.fromCoroutine(problem)
        outcome = check.addCallbacks(self._check_done, self._check_not_done)
        outcome.addErrback(self._not_sent)

    def _check_done(self, problem: str | None) -> None:
        self._check = None
        self._checked(problem)

    def _check_not_done(self, failure: Failure) -> None:
        self._check = None
        if self._state is not AnswerState.CHECKING:
            # The request was cancelled, and the check with it.
            failure.trap(CancelledError, CCProxyError)
            return
        error = failure.value
        if not isinstance(error, CCProxyError):
            self._log.failure("an answer could not be checked", failure)
            error = InternalError("the answer could not be checked")
        self._check_failed(error)

    def _not_sent(self, failure: Failure) -> None:
        self._log.failure("the end of an answer could not be sent", failure)

    def _send_failed(self, error: CCProxyError) -> None:
        self._last_word = None
        self._listener.receive([Failed(error)])

    def _expire(self, expired: Callable[[], None]) -> None:
        self._expiry = None
        expired()

    def _stop_waiting(self) -> None:
        expiry, self._expiry = self._expiry, None
        if expiry is not None:
            expiry.cancel()


class PoolClient(PendingAnswer[Worker]):
    """A request that needs a worker, or several workers in sequence.

    Attributes:
        wants_new: whether to prefer a worker that has not answered a request yet.
    """

    wants_new = False

    @property
    @abstractmethod
    def system(self) -> str:
        """The system prompt of the request; empty for none."""

    @abstractmethod
    def start(self, worker: Worker, served: Served) -> None:
        """Send the request to a worker."""


_Q = TypeVar("_Q", bound=PendingAnswer[Any])


class RequestQueue(Generic[_Q]):
    """The waiting requests, the oldest first.

    The time of an operation does not depend on the queue's length.

    Args:
        limit: the number of requests that may wait.
        seconds: the time limit for each waiting request.
        processes: the number of requests that are answered at a time, for the estimate
            of ``Retry-After``.
    """

    def __init__(self, limit: int, seconds: float, processes: int) -> None:
        self._limit = limit
        self._seconds = seconds
        self._processes = processes
        self._most_counts = max(processes // _COUNTS_SHARE, 1)
        self._waiting: OrderedDict[_Q, None] = OrderedDict()
        self._typical_seconds = 0.0

    def __len__(self) -> int:
        """The number of waiting requests."""
        return len(self._waiting)

    def __contains__(self, question: _Q) -> bool:
        """Whether a request waits."""
        return question in self._waiting

    def __iter__(self) -> Iterator[_Q]:
        """The waiting requests; they may leave during the iteration."""
        return iter(tuple(self._waiting))

    def servable(self, answering: Iterable[_Q]) -> Iterator[_Q]:
        """The waiting requests that may have a process now.

        A count of tokens waits while other counts have their share of the processes.

        Args:
            answering: the requests that have a process; read anew for each request.
        """
        for question in self:
            counts = sum(each.is_count for each in answering)
            if not question.is_count or counts < self._most_counts:
                yield question

    def join(self, question: _Q) -> None:
        """Add a request at the end."""
        self._waiting[question] = None

    def return_to(self, question: _Q) -> None:
        """Add a request at the beginning: it has waited before."""
        self._waiting[question] = None
        self._waiting.move_to_end(question, last=False)

    def leave(self, question: _Q) -> None:
        """Remove a request, if it waits."""
        self._waiting.pop(question, None)

    def admit(self, question: _Q, leaving: int) -> None:
        """Let the last request wait, or fail it if the queue is too long.

        Args:
            question: the last request.
            leaving: the number of processes that will soon be free or gone; the same
                number of waiting requests is not counted.
        """
        waiting = len(self._waiting) - leaving
        if waiting > self._limit:
            question.fail(
                self._full(
                    f"{waiting - 1} requests are waiting already", Cause.QUEUE_LENGTH
                )
            )
        else:
            self.stay(question)

    def stay(self, question: _Q) -> None:
        """Let a request wait, up to the time limit."""
        question.wait(self._seconds, lambda: self._waited_too_long(question))

    def answered(self, question: _Q) -> None:
        """Record the time that the answer to a request took."""
        age = question.age_seconds - question.queued_seconds
        self._typical_seconds += _NEWEST * (age - self._typical_seconds)

    def _waited_too_long(self, question: _Q) -> None:
        question.fail(
            self._full(
                f"no claude CLI became free within {self._seconds:g} s",
                Cause.QUEUE_TIMEOUT,
            )
        )

    def _full(self, why: str, cause: Cause) -> QueueFull:
        rounds = 1 + len(self._waiting) / self._processes
        after = min(
            max(rounds * self._typical_seconds, _SHORTEST_RETRY_SECONDS),
            _LONGEST_RETRY_SECONDS,
        )
        return QueueFull(
            f"{why}; try again later, or raise the proxy's limits "
            "(--max-processes, --max-queue, --queue-timeout)",
            retry_after_seconds=after,
            cause=cause,
        )


def shutting_down() -> ShuttingDown:
    """The error for requests that arrive, or are not answered, when the pool stops."""
    return ShuttingDown("the proxy is being stopped; try again when it is back")
