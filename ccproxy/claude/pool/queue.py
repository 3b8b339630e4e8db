"""The questions that wait for a CLI process: first come, first served, not for ever."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from ccproxy.claude.pool.pending_answer import PendingAnswer
from ccproxy.core.errors import QueueFull

# What `Retry-After` says is at least and at most this.
_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
# The weight of the newest answer in the typical time of an answer.
_NEWEST = 0.2


_Q = TypeVar("_Q", bound=PendingAnswer[Any])


class RequestQueue(Generic[_Q]):
    """The questions that wait, the first in front.

    Every operation takes the same time whatever the queue's length.

    Args:
        limit: how many questions may wait.
        seconds: how long each may wait.
        processes: how many are answered at one time, for `Retry-After`.
    """

    def __init__(self, limit: int, seconds: float, processes: int) -> None:
        self._limit = limit
        self._seconds = seconds
        self._processes = processes
        self._waiting: OrderedDict[_Q, None] = OrderedDict()
        self._typical_seconds = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __contains__(self, question: _Q) -> bool:
        """Whether a question waits."""
        return question in self._waiting

    def __iter__(self) -> Iterator[_Q]:
        """Those that wait now; a question may leave while this is iterated."""
        return iter(tuple(self._waiting))

    def join(self, question: _Q) -> None:
        """Wait behind all others."""
        self._waiting[question] = None

    def return_to(self, question: _Q) -> None:
        """Wait in front of all others: the question has had its turn already."""
        self._waiting[question] = None
        self._waiting.move_to_end(question, last=False)

    def leave(self, question: _Q) -> None:
        """Wait no more; does nothing for a question that does not wait."""
        self._waiting.pop(question, None)

    def admit(self, question: _Q, leaving: int) -> None:
        """Let the last question stay for its time, or fail it.

        Args:
            question: the last one.
            leaving: how many places become free in a moment; the questions that wait
                only for these are not counted.
        """
        waiting = len(self._waiting) - leaving
        if waiting > self._limit:
            question.fail(self._full(f"{waiting - 1} requests are waiting already"))
        else:
            self.stay(question)

    def stay(self, question: _Q) -> None:
        """Let a question wait for its time."""
        question.wait(self._seconds, lambda: self._waited_too_long(question))

    def answered(self, question: _Q) -> None:
        """Note how long an answer took."""
        age = question.age_seconds - question.queued_seconds
        self._typical_seconds += _NEWEST * (age - self._typical_seconds)

    def _waited_too_long(self, question: _Q) -> None:
        question.fail(
            self._full(f"no claude CLI became free within {self._seconds:g} s")
        )

    def _full(self, why: str) -> QueueFull:
        rounds = 1 + len(self._waiting) / self._processes
        after = min(
            max(rounds * self._typical_seconds, _SHORTEST_RETRY_SECONDS),
            _LONGEST_RETRY_SECONDS,
        )
        return QueueFull(
            f"{why}; ask again later, or let the proxy start more "
            "(--max-processes, --max-queue, --queue-timeout)",
            retry_after_seconds=after,
        )
