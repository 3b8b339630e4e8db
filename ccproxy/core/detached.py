"""Work that goes on when whoever waits for it has gone away.

Klein cancels a route's coroutine when its client hangs up, and a cancelled Deferred
cancels what it waits for. Here only the waiting ends.
"""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


def detached(work: "Deferred[_T]") -> "Deferred[_T]":
    """The outcome of some work, which may be cancelled without it.

    Whoever starts the work sees to it that its failure is logged: nobody may be there
    any more to be told.
    """
    told: Deferred[_T] = Deferred()

    def tell(outcome: Any) -> None:
        if not told.called:
            told.callback(outcome)

    work.addBoth(tell)
    return told
