r"""Encodes values as one line of JSON, and stream events as server-sent events. Pure.

The APIs encode their events as `WireEvent`s. `sse_frames` makes server-sent events of
them. On a WebSocket, the data of each `WireEvent` is one message.

JavaScript can cut a string inside a surrogate pair. ``JSON.stringify`` then writes the
lone surrogate as an escape such as ``\ud83d``, which most JSON parsers refuse.
`without_halves` replaces such an escape by U+FFFD.

Source: WHATWG HTML, "Server-sent events".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from ccproxy.core.stream import Event

# Some clients split lines at every Unicode line separator, as Python's str.splitlines
# does. So these characters are escaped.
_LINE_ENDS = {
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
    "\x85".encode(): rb"\u0085",
}
# A placeholder for a text that is inserted later. JSON never contains a NUL.
_NUL = b"\0"
TEXT = msgspec.Raw(_NUL)

_HEX = rb"[0-9a-fA-F]"
# JSON text before the next lone surrogate. The quantifiers are possessive, so that the
# regular expression never scans a text twice. One match is limited in length, because
# it holds the GIL.
_WHOLE = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])%b{4}"
    rb"|\\u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}){1,65536}+" % (_HEX, _HEX, _HEX)
)
# Lone surrogates. A pair may follow, because `_WHOLE` has a limit.
_HALVES = re.compile(
    rb"(?:\\u[dD](?:[c-fC-F]|[89abAB](?!%b{2}\\u[dD][c-fC-F]%b{2}))%b{2}){1,65536}+"
    % (_HEX, _HEX, _HEX)
)
_HALF_BYTES = 6
_REPLACEMENT = rb"\ufffd"

_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")


def encode_json(value: object) -> bytes:
    """Encode a value as one line of JSON, without Unicode line separators."""
    encoded = _encode(value)
    # Raw JSON of a client may have line breaks between its tokens.
    if b"\n" in encoded or b"\r" in encoded:
        encoded = encoded.replace(b"\n", b" ").replace(b"\r", b" ")
    if encoded.isascii():
        return encoded
    for character, escaped in _LINE_ENDS.items():
        if character in encoded:
            encoded = encoded.replace(character, escaped)
    return encoded


def _lone_surrogates(json: bytes) -> Iterator[tuple[int, int]]:
    """The start and the end of each run of lone surrogates."""
    if b"\\ud" not in json and b"\\uD" not in json:
        return
    place = 0
    while place < len(json):
        if (whole := _WHOLE.match(json, place)) is not None:
            place = whole.end()
        if (halves := _HALVES.match(json, place)) is not None:
            yield halves.span()
            place = halves.end()
        elif whole is None:
            return  # Invalid JSON: the decoder will report the position.


def has_halves(json: bytes) -> bool:
    """Whether a JSON text has a lone surrogate."""
    return next(_lone_surrogates(json), None) is not None


def without_halves(json: bytes) -> bytes:
    """Replace each lone surrogate by U+FFFD; returns ``json`` itself if it has none."""
    # Not a list: joining millions of pieces would hold the GIL for too long.
    mended = bytearray()
    rest = 0
    for begin, end in _lone_surrogates(json):
        mended += json[rest:begin]
        mended += _REPLACEMENT * ((end - begin) // _HALF_BYTES)
        rest = end
    return bytes(mended + json[rest:]) if rest else json


def exact_decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]:
    """Make a decoder that leaves numbers with a fraction or an exponent undecoded.

    If the value is encoded again, such a number is spelled as before. Numbers of any
    size are accepted.

    Args:
        kind: the type of the values; only numbers in a field of type `Any` or
            ``object`` stay undecoded.
    """
    return msgspec.json.Decoder(kind, float_hook=_undecoded)


def _undecoded(spelled: str) -> msgspec.Raw:
    return msgspec.Raw(spelled.encode())


_decode_exactly = exact_decoder(object).decode


def decode_json_exactly(json: bytes | msgspec.Raw) -> Any:
    """Decode JSON by `exact_decoder`.

    Raises:
        msgspec.DecodeError: it is not JSON.
    """
    return _decode_exactly(json)


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
        name: the event's type; empty: events of this API have no type.
        data: one line of JSON; `DONE` has the word ``[DONE]`` instead.
    """

    name: str
    data: bytes


# Encodes events of one answer in the format of the client's API. Some events have no
# equivalent there, so the result may be empty.
Encode: TypeAlias = Callable[[Sequence[Event]], Sequence[WireEvent]]
# Ends a stream of OpenAI's APIs. It is not an event: it has no sequence number, is not
# stored, and is not sent over a WebSocket.
DONE = WireEvent("", b"[DONE]")


def sse_frames(events: Iterable[WireEvent]) -> bytes:
    """Encode events as server-sent events."""
    # Joined once: an event that repeats the request can have megabytes.
    pieces: list[bytes] = []
    for event in events:
        if event.name:
            pieces += (b"event: ", event.name.encode(), b"\n")
        pieces += (b"data: ", event.data, b"\n\n")
    return b"".join(pieces)
