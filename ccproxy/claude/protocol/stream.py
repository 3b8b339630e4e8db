"""Records of an answer: the Messages API's events, passed on by the CLI.

A line is decoded once. Blocks, usages and deltas of unknown types stay raw JSON: they
are passed on unchanged.

=====================  ======================================================
``stream_event``       `StreamLine`: one event of the API's stream
``assistant``          `AssistantLine`: finished blocks, or an API error
``user``               `UserLine`: added by the CLI
=====================  ======================================================

Source: the raw stream events of anthropic-python 2.14;
docs/claude-cli-protocol.md, "Output".
"""

from collections.abc import Collection, Mapping
from typing import TypeAlias

import msgspec
from msgspec import Raw
from typing_extensions import override

from ccproxy.claude.protocol.records import WireUsage
from ccproxy.core.stream import Usage

_NULL = Raw(b"null")


class TextPiece(msgspec.Struct, tag="text_delta", forbid_unknown_fields=True):
    """A piece of text."""

    text: str


class ThinkingPiece(msgspec.Struct, tag="thinking_delta", forbid_unknown_fields=True):
    """A piece of thinking."""

    thinking: str


class SignaturePiece(msgspec.Struct, tag="signature_delta", forbid_unknown_fields=True):
    """The signature of a thinking block: its last delta."""

    signature: str


class InputPiece(msgspec.Struct, tag="input_json_delta", forbid_unknown_fields=True):
    """A piece of a call's arguments."""

    partial_json: str


Piece: TypeAlias = TextPiece | ThinkingPiece | SignaturePiece | InputPiece


class MessageHead(msgspec.Struct):
    """The head of a message, in ``message_start``."""

    id: str
    model: str
    usage: Raw = _NULL


# The fields of a message that the events of `ccproxy.core.stream` have as attributes.
_MESSAGE_FIELDS = frozenset(
    (
        *("id", "type", "role", "model", "content", "usage"),
        *("stop_reason", "stop_sequence", "stop_details"),
    )
)


class MessageStartEvent(msgspec.Struct, tag="message_start"):
    """A message begins; ``message`` is a `MessageHead` with other fields."""

    message: Raw

    @property
    def head(self) -> MessageHead:
        """The fields that the proxy reads.

        Raises:
            msgspec.DecodeError: a field has an unknown shape.
        """
        head: MessageHead = _decode_head(self.message)
        return head

    @property
    def fields(self) -> Mapping[str, Raw]:
        """All other fields, such as ``container``."""
        return _without(_decode_object(self.message), _MESSAGE_FIELDS)


class BlockStartEvent(msgspec.Struct, tag="content_block_start"):
    """A block begins."""

    content_block: Raw
    index: int = 0


class BlockDeltaEvent(msgspec.Struct, tag="content_block_delta"):
    """A delta of a block."""

    delta: Piece
    index: int = 0


class HalvedDeltaEvent(BlockDeltaEvent):
    """A delta with half a surrogate pair; the decoder makes it from the CLI's delta.

    Attributes:
        text: the original text; in ``delta``, U+FFFD replaces each half.
    """

    text: str = ""


class ExtendedDeltaEvent(BlockDeltaEvent):
    """A delta with further fields besides its text; the decoder makes it.

    Attributes:
        rest: the delta with the further fields and an empty text.
    """

    rest: Raw = _NULL


class OpaqueDeltaEvent(msgspec.Struct, tag="delta of an unknown type"):
    """A delta of an unknown type; the decoder makes it from the CLI's delta."""

    delta: Raw
    index: int = 0


class BlockStopEvent(msgspec.Struct, tag="content_block_stop"):
    """A block is complete."""

    index: int = 0


class StopPart(msgspec.Struct):
    """Why a message ends; without ``stop_reason`` the message continues."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = _NULL


_STOP_FIELDS = frozenset(("stop_reason", "stop_sequence", "stop_details"))


class MessageDeltaEvent(
    msgspec.Struct, tag="message_delta", forbid_unknown_fields=True
):
    """A message ends, or reports its usage so far; ``delta`` has a `StopPart`."""

    delta: Raw
    usage: Raw = _NULL

    @property
    def stop(self) -> StopPart:
        """The fields of ``delta`` that the proxy reads.

        Raises:
            msgspec.DecodeError: a field has an unknown shape.
        """
        stop: StopPart = _decode_stop(self.delta)
        return stop

    @property
    def delta_fields(self) -> Mapping[str, Raw]:
        """All other fields of ``delta``, such as ``container``."""
        return _without(_decode_object(self.delta), _STOP_FIELDS)

    @property
    def event_fields(self) -> Mapping[str, Raw]:
        """All other fields of the event, such as ``context_management``."""
        return {}


class ExtendedMessageDeltaEvent(MessageDeltaEvent):
    """A `MessageDeltaEvent` with further fields; the decoder makes it."""

    others: dict[str, Raw] = {}

    @property
    @override
    def event_fields(self) -> Mapping[str, Raw]:
        return self.others


class MessageStopEvent(msgspec.Struct, tag="message_stop"):
    """The stream of a message ends; the message is complete or cut off."""


StreamPart: TypeAlias = (
    MessageStartEvent
    | BlockStartEvent
    | BlockDeltaEvent
    | BlockStopEvent
    | MessageDeltaEvent
    | MessageStopEvent
    | OpaqueDeltaEvent
)


class StreamLine(msgspec.Struct):
    """An event of the provider's stream, passed on by the CLI."""

    event: StreamPart
    parent_tool_use_id: str | None = None


class _AnyEvent(msgspec.Struct):
    type: str
    index: int = 0
    delta: Raw = _NULL
    usage: Raw = _NULL


class _AnyLine(msgspec.Struct):
    type: str
    event: _AnyEvent
    parent_tool_use_id: str | None = None


class _Fields(msgspec.Struct):
    event: dict[str, Raw]


class _Tag(msgspec.Struct):
    type: str


class AssistantBody(msgspec.Struct):
    """Finished blocks of a message, or a whole message."""

    id: str
    model: str
    content: list[Raw] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = _NULL
    usage: Raw = _NULL


class AssistantLine(msgspec.Struct):
    """Finished blocks of a message, or an API error that looks like a message."""

    message: AssistantBody
    parent_tool_use_id: str | None = None
    error: str | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None

    @property
    def is_synthetic(self) -> bool:
        """Whether the message is from the CLI itself, not from the model."""
        return self.message.model == "<synthetic>"


class UserLine(msgspec.Struct):
    """A user's turn that the CLI adds: a tool's result, or a text of the CLI."""

    message: Raw = _NULL
    is_synthetic: bool = msgspec.field(default=False, name="isSynthetic")
    parent_tool_use_id: str | None = None


def is_message(record: object) -> bool:
    """Whether a record begins a message of the model."""
    if isinstance(record, StreamLine):
        return isinstance(record.event, MessageStartEvent)
    return isinstance(record, AssistantLine) and not record.is_synthetic


# The proxy relies on the shape of these types; other types may have any shape.
EVENT_TYPES = frozenset(
    (
        *("message_start", "message_delta", "message_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    )
)
# The types of deltas with a class of their own, and the field that has the text.
PIECES: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}

decode_known_line = msgspec.json.Decoder(StreamLine).decode
_decode_any = msgspec.json.Decoder(_AnyLine).decode
_decode_fields_of_event = msgspec.json.Decoder(_Fields).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_decode_head = msgspec.json.Decoder(MessageHead).decode
_decode_stop = msgspec.json.Decoder(StopPart).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode_stream_line(line: bytes) -> StreamLine | None:
    """Decode a line of type ``stream_event``; None: its event is of an unknown type.

    Raises:
        msgspec.DecodeError: the line has an unknown shape.
    """
    try:
        return decode_known_line(line)
    except msgspec.ValidationError:
        parsed = _decode_any(line)
        if parsed.event.type not in EVENT_TYPES:
            return None
        event = _extended(parsed.event, line)
        if event is None:
            raise
        return StreamLine(event, parsed.parent_tool_use_id)


def _extended(event: _AnyEvent, line: bytes) -> StreamPart | None:
    """Decode an event with further fields, or a delta of an unknown type; else None."""
    if event.type == "message_delta":
        about = ("type", "delta", "usage")
        fields = _without(_decode_fields_of_event(line).event, about)
        return ExtendedMessageDeltaEvent(event.delta, event.usage, fields)
    if event.type != "content_block_delta":
        return None
    fields = _decode_object(event.delta)
    kind = _decode_tag(event.delta).type
    if kind not in PIECES:
        return OpaqueDeltaEvent(event.delta, event.index)
    name = PIECES[kind]
    known = {"type": kind, name: fields.pop(name, _NULL)}
    piece = msgspec.json.decode(_encode(known), type=Piece)
    rest = _without(fields, ("type",))
    if not rest:
        return BlockDeltaEvent(piece, event.index)
    raw = Raw(_encode({"type": kind, name: "", **rest}))
    return ExtendedDeltaEvent(piece, event.index, raw)


def _without(fields: Mapping[str, Raw], names: Collection[str]) -> dict[str, Raw]:
    """A copy without the fields in ``names``, and without null fields."""
    # Without a copy, each value would keep its whole line in memory.
    return {
        name: Raw(bytes(value))
        for name, value in fields.items()
        if name not in names and value != _NULL
    }


_decode_counts = msgspec.json.Decoder(WireUsage | None).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw] | None).decode


def merged_usage(raw: Raw, earlier: Usage) -> Usage:
    """The counts and details of a ``usage`` object, merged into ``earlier``.

    ``message_delta`` repeats only some counts of ``message_start``.

    Raises:
        msgspec.DecodeError: a count is not a number.
    """
    counts = _decode_counts(raw)
    if counts is None:
        return earlier
    details = dict(earlier.details)
    for name, value in (_decode_fields(raw) or {}).items():
        # Without a copy, each value would keep its whole line in memory.
        copied = Raw(bytes(value))
        if copied != _NULL or name not in details:
            details[name] = copied
    usage: Usage = counts.over(earlier, details)
    return usage
