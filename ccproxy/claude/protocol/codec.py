"""The codec of stream-json: splits lines, decodes and encodes records. Pure.

Each line is a JSON object, in both directions. Any other line on stdout is skipped if
it cannot contain a record (`is_noise`); otherwise it is an error. Records of unknown
types are skipped, because each version of the CLI adds some. A record of a known type
but another shape is an error.

Source: docs/claude-cli-protocol.md, "Input" and "Output".
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from ccproxy.claude.protocol.records import (
    ApiRetry,
    ContextUsage,
    ControlRequest,
    ControlResponse,
    Init,
    InitializeAnswer,
    Interrupted,
    RateLimitEvent,
    Result,
    Rewound,
)
from ccproxy.claude.protocol.stream import (
    EVENT_TYPES,
    PIECES,
    AssistantLine,
    BlockDeltaEvent,
    HalvedDeltaEvent,
    StreamLine,
    UserLine,
    decode_known_line,
    decode_stream_line,
)
from ccproxy.core.encoding import without_halves

Record: TypeAlias = (
    StreamLine
    | AssistantLine
    | UserLine
    | Init
    | Result
    | ApiRetry
    | RateLimitEvent
    | ControlResponse
    | ControlRequest
)

# The longest line of the CLI is a whole answer in one message. 128,000 tokens are well
# under 1 MB. A line of 8 MB takes milliseconds.
LINE_LIMIT_BYTES = 16 * 2**20

_EXCERPT_CHARACTERS = 60
_RECORD = b'{"type"'
_FIRST_OF_ALL, _LAST_OF_ALL = "\ud800", "\udbff"


class WireError(Exception):
    """The CLI wrote something that is not stream-json; the message says what."""


class LineSplitter:
    """Splits a byte stream into lines; its chunks may be cut at any byte.

    Cost: O(bytes), amortized; no byte is scanned twice.
    """

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes, in order, without their ends.

        Raises:
            WireError: a line is longer than the limit; lines may have been lost.
        """
        *lines, rest = data.split(b"\n")
        if lines and self._pending:
            lines[0] = b"".join([*self._pending, lines[0]])
            self._pending.clear()
            self._pending_bytes = 0
        if rest:
            self._pending.append(rest)
            self._pending_bytes += len(rest)
        longest = max(self._pending_bytes, *map(len, lines), 0)
        if longest > self._limit_bytes:
            self._pending.clear()
            raise WireError(f"a line of more than {self._limit_bytes} bytes")
        return lines

    @property
    def rest(self) -> bytes:
        """The bytes since the end of the last line."""
        return b"".join(self._pending)


def is_noise(line: bytes) -> bool:
    """Whether a line is not part of the protocol, such as a warning of a library.

    A line that begins like a JSON object or contains the start of a record is not
    noise, because skipping it could lose a record.
    """
    if line.startswith(_RECORD):
        return False
    text = line.strip()
    return bool(text) and not text.startswith(b"{") and _RECORD not in text


class _Tag(msgspec.Struct):
    type: str
    subtype: str | None = None


class _EventTag(msgspec.Struct):
    type: str
    event: _Tag


_STREAM_EVENT = b'{"type":"stream_event",'
_decode_event_tag = msgspec.json.Decoder(_EventTag).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_decode_initialize = msgspec.json.Decoder(InitializeAnswer).decode
_decode_rewound = msgspec.json.Decoder(Rewound).decode
_decode_interrupted = msgspec.json.Decoder(Interrupted | None).decode
_decode_context_usage = msgspec.json.Decoder(ContextUsage).decode
_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "assistant": msgspec.json.Decoder(AssistantLine),
    "user": msgspec.json.Decoder(UserLine),
    "result": msgspec.json.Decoder(Result),
    "system/init": msgspec.json.Decoder(Init),
    "system/api_retry": msgspec.json.Decoder(ApiRetry),
    "rate_limit_event": msgspec.json.Decoder(RateLimitEvent),
    "control_response": msgspec.json.Decoder(ControlResponse),
    "control_request": msgspec.json.Decoder(ControlRequest),
}


def decode(line: bytes) -> Record | None:
    """Decode one line; None: it is blank, or its type is unknown.

    Raises:
        WireError: not UTF-8, not JSON, nested too deeply, not an object with a type, or
            a known type in another shape.
    """
    if line.startswith(_STREAM_EVENT):
        # Nearly every line is a stream event of a known shape.
        try:
            known: StreamLine = decode_known_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _decode_checked(line)
        return known
    return _decode_checked(line)


def _decode_checked(line: bytes) -> Record | None:
    if not line.strip():
        return None
    try:
        return _decode_any(line)
    except msgspec.ValidationError as error:
        if _is_new_event(line):
            return None
        raise WireError(f"a message of an unknown shape: {error}") from None
    except UnicodeDecodeError:
        raise WireError(f"a line that is not UTF-8: {_excerpt(line)}") from None
    except RecursionError:
        raise WireError(f"a line nested too deeply: {_excerpt(line)}") from None
    except msgspec.DecodeError:
        return _decode_halved(line)


def _decode_any(line: bytes) -> Record | None:
    tag = _decode_tag(line)
    if tag.type == "stream_event":
        return decode_stream_line(line)
    kind = f"system/{tag.subtype}" if tag.type == "system" else tag.type
    decoder = _DECODERS.get(kind)
    record: Record | None = None if decoder is None else decoder.decode(line)
    return record


def _is_new_event(line: bytes) -> bool:
    """Whether a line is a stream event of an unknown type."""
    try:
        tag = _decode_event_tag(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return tag.type == "stream_event" and tag.event.type not in EVENT_TYPES


def _decode_halved(line: bytes) -> Record | None:
    r"""Decode a line with half a surrogate pair (``\ud83d``).

    JavaScript does not replace such a lone surrogate. Here it becomes U+FFFD. A delta
    also keeps its original text, because the next delta may have the other half.
    """
    mended = without_halves(line)
    if mended is line:
        raise WireError(f"a line that is not JSON: {_excerpt(line)}") from None
    record = _decode_checked(mended)
    if isinstance(record, StreamLine) and isinstance(record.event, BlockDeltaEvent):
        delta, index = record.event.delta, record.event.index
        given = json.loads(line)["event"]["delta"]
        record.event = HalvedDeltaEvent(delta, index, given[PIECES[given["type"]]])
    return record


class HalvedDeltas:
    """Joins the halves of a surrogate pair that are in two deltas of one message.

    Attributes:
        last: the delta whose first half waits for the second half; None: no half waits.
    """

    def __init__(self) -> None:
        self._half = ""
        self.last: BlockDeltaEvent | None = None

    def join(self, event: BlockDeltaEvent) -> list[BlockDeltaEvent]:
        """The delta with the waiting half put before it, and without a half at its end.

        The half at the end waits for the next delta. A half whose other half does not
        follow becomes U+FFFD. If the next delta is of another type, U+FFFD comes before
        it in a delta of its own.
        """
        last = self.last
        if last is not None and type(last.delta) is not type(event.delta):
            return [*self.rest(), *self.join(event)]
        if isinstance(event, HalvedDeltaEvent):
            text = event.text
        else:
            [text] = msgspec.structs.astuple(event.delta)
        text = self._half + text
        waits = _FIRST_OF_ALL <= text[-1:] <= _LAST_OF_ALL
        text, self._half = (text[:-1], text[-1]) if waits else (text, "")
        sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        joined = BlockDeltaEvent(type(event.delta)(sound), event.index)
        self.last = joined if waits else None
        return [joined]

    def rest(self) -> list[BlockDeltaEvent]:
        """A delta with U+FFFD if a half waits, because the second half did not come."""
        last, self.last, self._half = self.last, None, ""
        if last is None:
            return []
        return [BlockDeltaEvent(type(last.delta)("\ufffd"), last.index)]


def _excerpt(line: bytes) -> str:
    return ascii(line[:_EXCERPT_CHARACTERS].decode("utf-8", "replace"))


def decode_initialize(answer: bytes | msgspec.Raw) -> InitializeAnswer:
    """Decode the ``response`` of a successful ``initialize``.

    Raises:
        WireError: the response has an unknown shape.
    """
    try:
        return _decode_initialize(answer)
    except msgspec.DecodeError as error:
        raise WireError(
            f"an answer to initialize of an unknown shape: {error}"
        ) from None


def decode_rewound(answer: bytes | msgspec.Raw) -> Rewound:
    """Decode the ``response`` of ``rewind_conversation``.

    Raises:
        WireError: the response has an unknown shape.
    """
    try:
        return _decode_rewound(answer)
    except msgspec.DecodeError as error:
        raise WireError(f"an answer to a rewind of an unknown shape: {error}") from None


def decode_interrupted(answer: bytes | msgspec.Raw) -> Interrupted:
    """Decode the ``response`` of ``interrupt``; older CLIs send no fields.

    Raises:
        WireError: the response has an unknown shape.
    """
    try:
        return _decode_interrupted(answer) or Interrupted()
    except msgspec.DecodeError as error:
        raise WireError(
            f"an answer to an interrupt of an unknown shape: {error}"
        ) from None


def decode_context_usage(answer: bytes | msgspec.Raw) -> ContextUsage:
    """Decode the ``response`` of ``get_context_usage``; an unknown shape: no counts."""
    try:
        return _decode_context_usage(answer)
    except msgspec.DecodeError:
        return ContextUsage()


_encoder = msgspec.json.Encoder()


def encode(record: Mapping[str, object]) -> bytes:
    """Encode a record as a line."""
    return _encoder.encode(record) + b"\n"
