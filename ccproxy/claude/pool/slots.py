"""The number of CLI processes that may run, shared by both ways of asking."""

from collections.abc import Callable


class ProcessSlots:
    """Slots for CLI processes; a process takes one from its start to its end.

    Args:
        limit: number of processes that may run at a time.

    Attributes:
        taken: number of processes.
        leaving: number of processes that are being stopped.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.leaving = 0
        self._freed: list[Callable[[], None]] = []
        self._room_makers: list[Callable[[], bool]] = []

    @property
    def is_free(self) -> bool:
        """Whether another process may be started."""
        return self.taken < self.limit

    @property
    def free(self) -> int:
        """The number of processes that may be started."""
        return max(self.limit - self.taken, 0)

    def take(self) -> None:
        """Take a slot for a new process; the caller has checked `is_free`."""
        self.taken += 1

    def leave(self) -> None:
        """Note that a process is being stopped; `give_back` follows."""
        self.leaving += 1

    def give_back(self) -> None:
        """Free the slot of a process that is gone, and call all watchers."""
        self.leaving -= 1
        self.taken -= 1
        for freed in tuple(self._freed):
            freed()

    def make_room(self) -> bool:
        """Stop one idle process of any watcher; tells whether there was one."""
        return any(make_room() for make_room in self._room_makers)

    def watch(self, freed: Callable[[], None], make_room: Callable[[], bool]) -> None:
        """Register a user of slots.

        Args:
            freed: called whenever a slot has become free.
            make_room: stops one idle process; tells whether there was one.
        """
        self._freed.append(freed)
        self._room_makers.append(make_room)
