"""Answers clients that have ended their half of the connection after the request.

The end of the client's half (FIN) does not show whether the client still reads: a
client that has closed its socket, or has died, sends the same. The difference shows
when data is sent: the system of a closed socket answers with a reset, and the next
write fails. So the server sends something that a client ignores, and sends it again:

==================  ==================================================================
nothing yet         ``102 Processing``: every client of HTTP/1.1 must be able to ignore
                    an interim response
an event stream     a comment
another response    nothing: the response's own data has the same effect
==================  ==================================================================

Source: RFC 9110, "Informational 1xx"; RFC 9112, "Connection Management"; WHATWG HTML,
"Server-sent events".
"""

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.web.server import Request

_INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"
_COMMENT = b": still there\n"
_EVENTS = "text/event-stream"
# A reset arrives one round trip after the data.
_FIRST_SECONDS = (0.1, 1.0)
_LATER_SECONDS = 15.0


class HalfCloseProbe:
    """Sends data that a client ignores, again and again, until `stop`.

    Args:
        write: writes to the transport; the transport reports a failure to its protocol.
        call_later: the reactor's ``callLater``.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        call_later: Callable[..., IDelayedCall],
    ) -> None:
        self._write = write
        self._call_later = call_later
        self._next: IDelayedCall | None = None

    def start(self, request: Request) -> None:
        """Begin; a second call, for the same request, changes nothing."""
        if self._next is None:
            self._send(request, chain(_FIRST_SECONDS, repeat(_LATER_SECONDS)))

    def stop(self) -> None:
        """End: the response is complete, or the connection is lost."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _send(self, request: Any, pauses: Iterator[float]) -> None:
        # Before the write, which may report the loss of the connection.
        self._next = self._call_later(next(pauses), self._send, request, pauses)
        if not request.startedWriting:
            self._write(_INTERIM)
        elif _is_event_stream(request):
            request.write(_COMMENT)


def _is_event_stream(request: Request) -> bool:
    kinds = request.responseHeaders.getRawHeaders("content-type", [""])
    return kinds[0].startswith(_EVENTS)
