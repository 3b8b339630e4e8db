"""How many CLI processes there may be, shared by all that start some."""

from collections.abc import Callable


class ProcessSlots:
    """The places for CLI processes; one is taken before a process is started.

    Args:
        limit: how many processes there may be at one time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def is_free(self) -> bool:
        """Whether another process may be started."""
        return self.taken < self.limit

    @property
    def free(self) -> int:
        """How many processes may be started."""
        return max(self.limit - self.taken, 0)

    def take(self) -> None:
        """Note a process that is started; the caller has looked at `is_free`."""
        self.taken += 1

    def give_back(self) -> None:
        """Note a process that is gone, and tell all who wait for a place."""
        self.taken -= 1
        for freed in tuple(self._waiting):
            freed()

    def watch(self, freed: Callable[[], None]) -> None:
        """Call ``freed`` whenever a place has become free."""
        self._waiting.append(freed)
