"""Events of a stream as a client gets them, and their form as server-sent events. Pure.

Encoders make `WireEvent`s: a name and one line of JSON each. Framing happens at the
socket: as a server-sent event here, as a message over a WebSocket.

Source: WHATWG HTML, "Server-sent events".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec

from ccproxy.core.stream import Event


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream.

    Attributes:
        name: the event's type; empty where an API's events have none.
        data: one line of JSON, or the word that ends a stream of OpenAI's.
    """

    name: str
    data: bytes


# What the events of one answer mean to the client; maybe nothing.
Encode: TypeAlias = Callable[[Sequence[Event]], Sequence[WireEvent]]
# What ends a stream of OpenAI's. It is no event of the API: it has no number, is not
# stored, and is not sent over a WebSocket.
DONE = WireEvent("", b"[DONE]")


def sse_frames(events: Iterable[WireEvent]) -> bytes:
    """The events as server-sent events, ready for the socket."""
    return b"".join(map(_frame, events))


def _frame(event: WireEvent) -> bytes:
    if not event.name:
        return b"data: %b\n\n" % event.data
    return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)
