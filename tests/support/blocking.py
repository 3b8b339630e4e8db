"""Blocking code in a test that runs in the reactor."""

from collections.abc import Callable
from typing import Any

from greenlet import greenlet
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_REACTOR: Any = reactor


def in_greenlet(function: Callable[[], None]) -> "Deferred[None]":
    """Call a function that may wait by `pytest_twisted.blockon`.

    Tests run in the reactor's greenlet, which must not block, and hypothesis cannot
    wait for Deferreds.
    """
    done: Deferred[None] = Deferred()

    def call() -> None:
        # What waits for it goes on in the reactor's greenlet again.
        try:
            function()
        except BaseException:  # noqa: BLE001
            _REACTOR.callLater(0, done.errback, Failure())
        else:
            _REACTOR.callLater(0, done.callback, None)

    greenlet(call).switch()
    return done
