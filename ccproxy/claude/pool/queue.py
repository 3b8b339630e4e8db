"""The queue of requests for a CLI process: first come, first served, with limits."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ccproxy.claude.pool.pending_answer import PendingAnswer
from ccproxy.core.errors import Cause, QueueFull

# Bounds of `Retry-After`.
_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
# Weight of the newest answer in the moving average of answer times.
_NEWEST = 0.2


_Q = TypeVar("_Q", bound=PendingAnswer[Any])


class RequestQueue(Generic[_Q]):
    """The waiting requests, the oldest first.

    The time of an operation does not depend on the queue's length.

    Args:
        limit: number of requests that may wait.
        seconds: how long each request may wait.
        processes: number of requests that are answered at a time, for `Retry-After`.
    """

    def __init__(self, limit: int, seconds: float, processes: int) -> None:
        self._limit = limit
        self._seconds = seconds
        self._processes = processes
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
            leaving: number of places that become free in a moment; so many waiting
                requests do not count.
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
        """Note how long the answer of a request took."""
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
            f"{why}; try again later, or let the proxy start more "
            "(--max-processes, --max-queue, --queue-timeout)",
            retry_after_seconds=after,
            cause=cause,
        )
