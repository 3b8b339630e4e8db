"""The stdin of a child process: what fits into the pipe is written at once.

Twisted writes in the next turn of the reactor, and tells epoll before and after it.
The CLI is sent three or four short lines for each question, and reads them at once, so
that the turn is most of what such a line costs.

=====  ==========================================================================
state  what becomes of data
=====  ==========================================================================
open   it is written; what the pipe has no room for is left to Twisted: full
full   it is left to Twisted, behind the rest; when that is written: open
=====  ==========================================================================
"""

from typing import Any

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer


@implementer(IPullProducer)
class ChildStdin:
    """Writes to the stdin of a child, in order.

    Args:
        transport: of the child. Without pipes (they are Twisted's for POSIX) all is
            left to it.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._is_full = False

    def write(self, data: bytes) -> None:
        """Write, now as far as possible."""
        if not self._is_full:
            data = data[self._write_some(data) :]
        if not data:
            return
        if not self._is_full and self._pipe is not None:
            # It calls `resumeProducing` at once, and then whenever all is written.
            self._transport.registerProducer(self, False)
            self._is_full = True
        self._transport.write(data)

    def resumeProducing(self) -> None:
        """Learn that all is written; called by Twisted only."""
        if self._is_full:
            self._is_full = False
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Learn that the pipe is closed; called by Twisted only."""

    @property
    def _pipe(self) -> Any:
        """The end of the pipe, as Twisted has it; None once it is closed."""
        return getattr(self._transport, "pipes", {}).get(0)

    def _write_some(self, data: bytes) -> int:
        pipe = self._pipe
        if pipe is None:
            return 0
        written = pipe.writeSomeData(data)
        # Otherwise the pipe is broken, which Twisted finds out as well.
        return written if isinstance(written, int) else 0
