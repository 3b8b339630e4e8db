"""Waiting for a condition instead of sleeping for a time."""

from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.task import deferLater

# A minute: far more than anything here takes on a machine with other work. Only a
# failing test gets near.
_MOST_TURNS = 12_000


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor run until a condition is true."""
    for _ in range(_MOST_TURNS):
        if condition():
            return
        await deferLater(reactor, 0.005)
    raise AssertionError(f"never came true: {condition}")
