"""Protects a Deferred from the cancellation of the caller that waits for it.

Klein cancels the coroutine of a route when its client disconnects. The coroutine then
cancels the Deferred that it waits for, such as the opening of the database, which other
requests need.
"""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


def shield(work: "Deferred[_T]") -> "Deferred[_T]":
    """Make a Deferred with the outcome of ``work``; its cancel does not reach ``work``.

    After a cancel, the outcome of ``work`` is dropped. The caller has to make sure that
    a failure of ``work`` is logged.
    """
    outcome: Deferred[_T] = Deferred()

    def forward(result: Any) -> None:
        if not outcome.called:
            outcome.callback(result)

    work.addBoth(forward)
    return outcome
