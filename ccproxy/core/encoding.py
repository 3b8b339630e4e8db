"""JSON that every reader can parse, and the events of a stream as sent. Pure.

Encoders make `WireEvent`s: a name and one line of JSON each. Framing happens at the
socket: as a server-sent event by `sse_frames`, as a message over a WebSocket.

Source: WHATWG HTML, "Server-sent events".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec

from ccproxy.core.stream import Event

# Some readers split lines at every line end of Unicode, as Python's str.splitlines
# does. In JSON these characters may be escaped.
_LINE_ENDS = {
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
    "\x85".encode(): rb"\u0085",
}
# Stands for a text that is filled in later. No JSON has a NUL in it.
_NUL = b"\0"
TEXT = msgspec.Raw(_NUL)

_encode = msgspec.json.Encoder().encode


def encode_json(value: object) -> bytes:
    """Encode a value as one line of JSON, without any of Unicode's line ends."""
    encoded = _encode(value)
    # Line breaks remain only between tokens: raw JSON of a client may have them.
    if b"\n" in encoded or b"\r" in encoded:
        encoded = encoded.replace(b"\n", b" ").replace(b"\r", b" ")
    if encoded.isascii():
        return encoded
    for character, escaped in _LINE_ENDS.items():
        if character in encoded:
            encoded = encoded.replace(character, escaped)
    return encoded


def halves_around_text(value: object) -> tuple[bytes, bytes]:
    """Encode a value; returns the JSON before `TEXT` and the JSON after it.

    The deltas of a block differ in their text only, so the rest is encoded once.

    Args:
        value: has `TEXT` where the text goes.
    """
    head, _, tail = encode_json(value).partition(_NUL)
    return head, tail


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream.

    Attributes:
        name: the event's type; empty where an API's events have none.
        data: one line of JSON; `DONE` has a word instead.
    """

    name: str
    data: bytes


# Encodes events of one answer in the format of the client's API; may return none.
Encode: TypeAlias = Callable[[Sequence[Event]], Sequence[WireEvent]]
# Ends a stream of OpenAI's APIs. Unlike an event of these APIs it has no number, is
# not stored, and is not sent over a WebSocket.
DONE = WireEvent("", b"[DONE]")


def sse_frames(events: Iterable[WireEvent]) -> bytes:
    """The events as server-sent events, ready for the socket."""
    return b"".join(map(_frame, events))


def _frame(event: WireEvent) -> bytes:
    if not event.name:
        return b"data: %b\n\n" % event.data
    return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)
