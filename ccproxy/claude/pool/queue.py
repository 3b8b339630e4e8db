"""The questions that wait for a CLI: first come, first served, not for ever."""

from collections import deque
from collections.abc import Iterator

from ccproxy.claude.native.ask import Ask
from ccproxy.errors import QueueFull

# What `Retry-After` says is at least and at most this.
_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
# The weight of the newest answer in the typical time of one.
_NEWEST = 0.2


class Line:
    """Who waits, the first in front.

    Args:
        most: how many may.
        seconds: how long each may.
        processes: how many are served at one time, to say when to come again.
    """

    def __init__(self, most: int, seconds: float, processes: int) -> None:
        self._most = most
        self._seconds = seconds
        self._processes = processes
        self._asks: deque[Ask] = deque()
        self._typical_seconds = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._asks)

    def __contains__(self, ask: Ask) -> bool:
        """Whether a question waits."""
        return ask in self._asks

    def __iter__(self) -> Iterator[Ask]:
        """Those that wait now; who leaves meanwhile does no harm."""
        return iter(tuple(self._asks))

    def join(self, ask: Ask) -> None:
        """Wait behind all others."""
        self._asks.append(ask)

    def return_to(self, ask: Ask) -> None:
        """Wait before all others, as one that has been served in vain."""
        self._asks.appendleft(ask)

    def leave(self, ask: Ask) -> None:
        """Wait no more; nothing happens to who does not."""
        if ask in self._asks:
            self._asks.remove(ask)

    def place(self, ask: Ask) -> int:
        """How many have to be served until this one is."""
        return 1 + self._asks.index(ask)

    def admit(self, ask: Ask, leaving: int) -> None:
        """Let the last one stay for a while, or send it away.

        Args:
            ask: the last one.
            leaving: how many CLIs will be gone in a moment: who only waits for them
                is as good as served.
        """
        waiting = len(self._asks) - leaving
        if waiting > self._most:
            ask.fail(self._full(f"{waiting - 1} requests are waiting already"))
        else:
            ask.wait(self._seconds, self._waited_too_long)

    def answered(self, ask: Ask) -> None:
        """Note how long an answer took."""
        age = ask.age_seconds - ask.queued_seconds
        self._typical_seconds += _NEWEST * (age - self._typical_seconds)

    def _waited_too_long(self, ask: Ask) -> None:
        ask.fail(self._full(f"no claude CLI became free within {self._seconds:g} s"))

    def _full(self, why: str) -> QueueFull:
        rounds = 1 + len(self._asks) / self._processes
        after = min(
            max(rounds * self._typical_seconds, _SHORTEST_RETRY_SECONDS),
            _LONGEST_RETRY_SECONDS,
        )
        return QueueFull(
            f"{why}; ask again later, or let the proxy start more "
            "(--max-processes, --max-queue, --queue-seconds)",
            retry_after_seconds=after,
        )
