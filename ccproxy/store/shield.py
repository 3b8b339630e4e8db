"""Work that continues when the caller that waits for it is cancelled.

Klein cancels the coroutine of a route when its client disconnects. A cancelled Deferred
cancels the Deferred that it waits for: a database write would be broken off in the
middle.
"""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


def shield(work: "Deferred[_T]") -> "Deferred[_T]":
    """A Deferred with the outcome of ``work`` that can be cancelled alone.

    After a cancellation the outcome is dropped. The caller has to make sure that a
    failure of ``work`` is logged.
    """
    outcome: Deferred[_T] = Deferred()

    def forward(result: Any) -> None:
        if not outcome.called:
            outcome.callback(result)

    work.addBoth(forward)
    return outcome
