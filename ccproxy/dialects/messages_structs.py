"""The Messages API's answers on the wire: messages, blocks, usage. Pure.

Source: ``Message``, ``Usage`` and the raw stream events of anthropic-python 2.14.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from attrs import frozen

from ccproxy.events import Finished, FinishReason
from ccproxy.events import Usage as TokenUsage

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]

_STOP_REASONS: Mapping[FinishReason, StopReason] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.REFUSAL: "refusal",
    FinishReason.TOOL_USE: "tool_use",
}


@frozen(kw_only=True)
class Heading:
    """What is told of an answer before it is there."""

    id: str
    request_id: str


class OutputDetails(msgspec.Struct):
    """A part of the output's count."""

    thinking_tokens: int


class Usage(msgspec.Struct):
    """Token counts, which do not overlap."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputDetails


def usage_of(usage: TokenUsage) -> Usage:
    """The CLI's counts, as the wire has them."""
    return Usage(
        input_tokens=usage.input_tokens,
        cache_creation_input_tokens=usage.cache_write_tokens,
        cache_read_input_tokens=usage.cache_read_tokens,
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputDetails(usage.thinking_tokens),
    )


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    """What the model says."""

    text: str = ""
    citations: None = None


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    """What it thinks; without a signature it is an aside of ours."""

    thinking: str = ""
    signature: str = ""


class RedactedThinkingBlock(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """What it thinks, legible to its provider only."""

    data: str


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call of one of the client's tools."""

    id: str
    name: str
    input: dict[str, Any]


Block = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock


class Message(msgspec.Struct, kw_only=True, tag_field="type", tag="message"):
    """An answer; without a stop reason it has only begun."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[Block]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: None = None
    usage: Usage


def stop_of(end: Finished | None) -> tuple[StopReason | None, str | None]:
    """Why the model stopped, and at which of the client's sequences."""
    if end is None:
        return None, None
    if end.reason is FinishReason.STOP and end.stop_sequence is not None:
        return "stop_sequence", end.stop_sequence
    return _STOP_REASONS[end.reason], None
