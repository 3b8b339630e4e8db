"""One Deferred, many waiters."""

from twisted.internet.defer import Deferred


def another_of(source: "Deferred[None]") -> "Deferred[None]":
    """A Deferred of its own for one more waiter."""
    waiter: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        if not waiter.called:
            waiter.callback(None)

    source.addCallback(fire)
    return waiter
