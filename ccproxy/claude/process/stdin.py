"""The stdin of a child process: what fits into the pipe is written at once.

Twisted writes in the next turn of the reactor, and changes the epoll registration
before and after the write. The CLI gets three or four short lines for each request and
reads them at once, so the extra turn would be most of the cost of such a line.

=====  ==========================================================================
state  what happens to data
=====  ==========================================================================
open   data is written; Twisted writes what does not fit into the pipe: full
full   Twisted writes the data after the rest; when all is written: open
=====  ==========================================================================
"""

from typing import Any

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer


@implementer(IPullProducer)
class ChildStdin:
    """Writes to the stdin of a child, in order.

    Args:
        transport: the child's transport. Only Twisted's POSIX transports have pipes;
            any other transport writes all data itself.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._is_full = False

    def write(self, data: bytes) -> None:
        """Write as much as the pipe takes now; Twisted writes the rest."""
        if not self._is_full:
            data = data[self._write_some(data) :]
        if not data:
            return
        if not self._is_full and self._pipe is not None:
            # The transport calls `resumeProducing` at once, and whenever all is
            # written.
            self._transport.registerProducer(self, False)
            self._is_full = True
        self._transport.write(data)

    def resumeProducing(self) -> None:
        """Note that all is written; called by Twisted only."""
        if self._is_full:
            self._is_full = False
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Note that the pipe is closed; called by Twisted only."""

    @property
    def _pipe(self) -> Any:
        """Twisted's writer of the pipe; None after the pipe is closed."""
        return getattr(self._transport, "pipes", {}).get(0)

    def _write_some(self, data: bytes) -> int:
        pipe = self._pipe
        if pipe is None:
            return 0
        written = pipe.writeSomeData(data)
        # Any other result means a broken pipe, which Twisted detects as well.
        return written if isinstance(written, int) else 0
