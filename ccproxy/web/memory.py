"""Limits the memory for large data: one budget for all requests of a server. Pure.

The budget counts bytes of JSON: the bodies of requests, the stored conversations that
they continue, the stored items and responses that clients read, and the messages and
histories of WebSockets. While the data is decoded and encoded, the process needs
several times as much memory.
"""

from ccproxy.core.errors import ServerFull

# Data up to this size does not count, because `--max-connections` limits its total.
_SMALL_BYTES = 2**16
_RETRY_SECONDS = 2.0


class MemoryBudget:
    """The number of bytes that all holders together may hold.

    Attributes:
        held_bytes: the number of bytes that are held now.

    Args:
        most_bytes: the limit. A holder may exceed it while no other holds any bytes.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def holder(self) -> "HeldMemory":
        """Make a holder that holds no memory."""
        return HeldMemory(self)

    def change(
        self, held_bytes: int, size_bytes: int, *, is_there: bool = False
    ) -> None:
        """Change the bytes of one holder. Called by `HeldMemory`.

        Args:
            held_bytes: the bytes that the holder has held until now.
            size_bytes: the bytes that the holder holds from now on.
            is_there: whether the data is already in memory, and cannot be refused.

        Raises:
            ServerFull: the holder would grow, and the limit would be exceeded.
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
                "one time; try again, or start the proxy with a larger --memory-limit",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self.held_bytes = others_bytes + size_bytes


class HeldMemory:
    """The memory that one request or WebSocket holds.

    Args:
        budget: counts the bytes.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size_bytes = self._counted_bytes = 0

    def set(self, size_bytes: int, *, is_there: bool = False) -> None:
        """Set the number of bytes that are held.

        Args:
            size_bytes: the new number.
            is_there: whether the data is already in memory, and cannot be refused.

        Raises:
            ServerFull: the limit would be exceeded; nothing is changed.
        """
        counted_bytes = size_bytes if size_bytes > _SMALL_BYTES else 0
        self._budget.change(self._counted_bytes, counted_bytes, is_there=is_there)
        self._size_bytes, self._counted_bytes = size_bytes, counted_bytes

    def grow(self, size_bytes: int) -> None:
        """Hold at least this number of bytes.

        Raises:
            ServerFull: the limit would be exceeded; nothing is changed.
        """
        if size_bytes > self._size_bytes:
            self.set(size_bytes)

    def add(self, size_bytes: int) -> None:
        """Hold this number of bytes in addition.

        Raises:
            ServerFull: the limit would be exceeded; nothing is changed.
        """
        self.set(self._size_bytes + size_bytes)

    def release(self) -> None:
        """Hold no bytes; may be called at any time."""
        self.set(0)

    def hand_over(self) -> "HeldMemory":
        """Move all bytes to a new holder; returns the new holder."""
        other = HeldMemory(self._budget)
        other._size_bytes, self._size_bytes = self._size_bytes, 0
        other._counted_bytes, self._counted_bytes = self._counted_bytes, 0
        return other
