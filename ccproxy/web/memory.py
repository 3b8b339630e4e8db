"""The memory for large data: one budget for all requests of a server. Pure.

It counts bytes of JSON: the bodies of requests, the stored conversations that they
continue, the stored items and responses that clients read, and the messages and
histories of WebSockets. The process takes several times as much for a moment, because
the same data is decoded and encoded.
"""

from ccproxy.core.errors import ServerFull

# What is smaller does not count: there are only so many connections.
_SMALL_BYTES = 2**16
_RETRY_SECONDS = 2.0


class MemoryBudget:
    """The bytes that may be held at one time.

    Attributes:
        held_bytes: what is held now.

    Args:
        most_bytes: the limit. One holder alone may have more.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def holder(self) -> "HeldMemory":
        """Something that can hold memory, and holds none yet."""
        return HeldMemory(self)

    def change(
        self, held_bytes: int, size_bytes: int, *, is_there: bool = False
    ) -> None:
        """Count a holder that grows or shrinks; for holders.

        Args:
            held_bytes: what it has held.
            size_bytes: what it holds from now on.
            is_there: whether that is in memory already, and cannot be refused.

        Raises:
            ServerFull: it would grow, and all together would be too large.
        """
        others_bytes = self.held_bytes - held_bytes
        if (
            size_bytes > held_bytes
            and not is_there
            and others_bytes
            and others_bytes + size_bytes > self._most_bytes
        ):
            raise ServerFull(
                "the proxy holds too many large requests, conversations and answers at "
                "one time; try again, or start it with a larger --memory-limit",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self.held_bytes = others_bytes + size_bytes


class HeldMemory:
    """The memory that one request or WebSocket holds.

    Args:
        budget: counts what is held.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size_bytes = self._counted_bytes = 0

    def set(self, size_bytes: int, *, is_there: bool = False) -> None:
        """Hold so much, instead of what was held.

        Args:
            size_bytes: the size.
            is_there: whether it is in memory already, and cannot be refused.

        Raises:
            ServerFull: there is no room for more; the same is held as before.
        """
        counted_bytes = size_bytes if size_bytes > _SMALL_BYTES else 0
        self._budget.change(self._counted_bytes, counted_bytes, is_there=is_there)
        self._size_bytes, self._counted_bytes = size_bytes, counted_bytes

    def grow(self, size_bytes: int) -> None:
        """Hold at least so much.

        Raises:
            ServerFull: there is no room for more; the same is held as before.
        """
        if size_bytes > self._size_bytes:
            self.set(size_bytes)

    def add(self, size_bytes: int) -> None:
        """Hold so much more.

        Raises:
            ServerFull: there is no room for more; the same is held as before.
        """
        self.set(self._size_bytes + size_bytes)

    def release(self) -> None:
        """Hold nothing any more; may be called at any time."""
        self.set(0)

    def hand_over(self) -> "HeldMemory":
        """A new holder of all that this one has held."""
        other = HeldMemory(self._budget)
        other._size_bytes, self._size_bytes = self._size_bytes, 0
        other._counted_bytes, self._counted_bytes = self._counted_bytes, 0
        return other
