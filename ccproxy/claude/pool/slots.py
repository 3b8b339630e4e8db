"""How many CLI processes there may be, shared by all that start some."""

from collections.abc import Callable


class ProcessSlots:
    """The places for CLI processes; one is taken before a process is started.

    Args:
        limit: how many processes there may be at one time.

    Attributes:
        taken: how many processes there are.
        leaving: how many of these are being stopped.
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
        """How many processes may be started."""
        return max(self.limit - self.taken, 0)

    def take(self) -> None:
        """Note a process that is started; the caller has looked at `is_free`."""
        self.taken += 1

    def leave(self) -> None:
        """Note that a process is being stopped; `give_back` follows."""
        self.leaving += 1

    def give_back(self) -> None:
        """Note a process that is gone, and tell all who wait for a place."""
        self.leaving -= 1
        self.taken -= 1
        for freed in tuple(self._freed):
            freed()

    def make_room(self) -> bool:
        """Have a process stopped that nobody asks, whoever has it; tells whether."""
        return any(make_room() for make_room in self._room_makers)

    def watch(self, freed: Callable[[], None], make_room: Callable[[], bool]) -> None:
        """Take part.

        Args:
            freed: called whenever a place has become free.
            make_room: stops one process that nobody asks, and tells whether it did.
        """
        self._freed.append(freed)
        self._room_makers.append(make_room)
