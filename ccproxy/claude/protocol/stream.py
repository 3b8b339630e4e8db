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

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
from msgspec import Raw

from ccproxy.claude.protocol.records import WireUsage
from ccproxy.core.stream import Usage

_NULL = Raw(b"null")


class TextPiece(msgspec.Struct, tag="text_delta"):
    """A piece of text."""

    text: str


class ThinkingPiece(msgspec.Struct, tag="thinking_delta"):
    """A piece of thinking."""

    thinking: str


class SignaturePiece(msgspec.Struct, tag="signature_delta"):
    """The signature of a thinking block: its last delta."""

    signature: str


class InputPiece(msgspec.Struct, tag="input_json_delta"):
    """A piece of a call's arguments."""

    partial_json: str


class MessageHead(msgspec.Struct):
    """The head of a message, in ``message_start``."""

    id: str
    model: str
    usage: Raw = _NULL


class MessageStartEvent(msgspec.Struct, tag="message_start"):
    """A message begins."""

    message: MessageHead


class BlockStartEvent(msgspec.Struct, tag="content_block_start"):
    """A block begins."""

    content_block: Raw
    index: int = 0


class BlockDeltaEvent(msgspec.Struct, tag="content_block_delta"):
    """A delta of a block."""

    delta: TextPiece | ThinkingPiece | SignaturePiece | InputPiece
    index: int = 0


class HalvedDeltaEvent(BlockDeltaEvent):
    """A delta with half a surrogate pair; the decoder makes it from the CLI's delta.

    Attributes:
        text: the original text; in ``delta``, U+FFFD replaces each half.
    """

    text: str = ""


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


class MessageDeltaEvent(msgspec.Struct, tag="message_delta"):
    """A message ends, or reports its usage so far."""

    delta: StopPart
    usage: Raw = _NULL


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


class _AnyLine(msgspec.Struct):
    type: str
    event: _AnyEvent
    parent_tool_use_id: str | None = None


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
    """A user's turn that the CLI adds: a tool's result, or a text of its own."""

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
_decode_tag = msgspec.json.Decoder(_Tag).decode


def decode_stream_line(line: bytes) -> StreamLine | None:
    """Decode a line of type ``stream_event``; None: its event is of an unknown type.

    Raises:
        msgspec.DecodeError: the line is of another shape.
    """
    try:
        return decode_known_line(line)
    except msgspec.ValidationError:
        parsed = _decode_any(line)
        if parsed.event.type not in EVENT_TYPES:
            return None
        if (
            parsed.event.type != "content_block_delta"
            or _decode_tag(parsed.event.delta).type in PIECES
        ):
            raise
        event = OpaqueDeltaEvent(parsed.event.delta, parsed.event.index)
        return StreamLine(event, parsed.parent_tool_use_id)


_decode_counts = msgspec.json.Decoder(WireUsage | None).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw] | None).decode


def merged_counts(raw: Raw, earlier: Usage) -> Usage:
    """The counts of a ``usage`` object; absent counts are taken from ``earlier``.

    Unlike `merged_usage`, the result has no details.

    Raises:
        msgspec.DecodeError: a count is not a number.
    """
    counts = _decode_counts(raw)
    return earlier if counts is None else counts.over(earlier)


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
