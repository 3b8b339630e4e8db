"""Runs the asynchronous work of a command until its end or Ctrl-C."""

import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from ccproxy.cli.command_line import ExitStatus


def run_until_interrupted(work: Callable[[Any], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a coroutine on the reactor, and exit with the status that it returns.

    On Ctrl-C, the coroutine is cancelled, so that it can stop its CLI and remove the
    CLI's directory. The reactor stops after that.

    Args:
        work: called with the reactor; makes the coroutine.
    """
    react(_run, (work,))


async def _run(
    reactor: Any, work: Callable[[Any], Coroutine[Any, Any, int]]
) -> NoReturn:
    running = Deferred.fromCoroutine(work(reactor))
    ended: Deferred[None] = Deferred()

    def interrupted() -> "Deferred[None] | None":
        if running.called:
            return None
        running.cancel()
        return ended

    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    try:
        status = await running
    except CancelledError:
        status = ExitStatus.INTERRUPTED
    finally:
        ended.callback(None)
    sys.exit(status)
