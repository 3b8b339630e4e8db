"""The structs of chat completions' responses and chunks. Pure.

Source: ``CreateChatCompletionResponse`` and ``CreateChatCompletionStreamResponse`` in
OpenAI's document; for thinking, `ccproxy.api.chat.reasoning`.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.chat.reasoning import ReasoningDetail
from ccproxy.core.stream import Finished, Usage

Finish = Literal["stop", "length", "content_filter", "tool_calls", "function_call"]


class PromptDetails(msgspec.Struct):
    """``prompt_tokens_details``."""

    cached_tokens: int
    cache_write_tokens: int
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct):
    """``completion_tokens_details``.

    Attributes:
        reasoning_tokens: absent if the provider does not report it.
    """

    reasoning_tokens: int | UnsetType = UNSET
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(msgspec.Struct):
    """``usage``: the tokens of an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class CalledFunction(msgspec.Struct):
    """The name of a called function, and its arguments or a piece of them."""

    arguments: str
    name: str | UnsetType = UNSET


class CalledCustom(msgspec.Struct):
    """The name of a called custom tool, and its input or a piece of it."""

    input: str
    name: str | UnsetType = UNSET


class ToolCall(msgspec.Struct, kw_only=True):
    """A tool call in a message, or a piece of a tool call in a chunk."""

    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: CalledFunction | UnsetType = UNSET
    custom: CalledCustom | UnsetType = UNSET


class CitedURL(msgspec.Struct):
    """``url_citation``: a page, and the place of the text that cites it."""

    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(msgspec.Struct, kw_only=True):
    """An entry of ``annotations``; it has an ``index`` in chunks only."""

    index: int | UnsetType = UNSET
    type: str = "url_citation"
    url_citation: CitedURL


class ServerToolError(msgspec.Struct, kw_only=True):
    """An entry of ``server_tool_errors``; it has an ``index`` in chunks only.

    OpenAI's document has no such field.
    """

    index: int | UnsetType = UNSET
    tool: str
    code: str


class ChatMessage(msgspec.Struct, kw_only=True):
    """The assistant's message."""

    role: str = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: list[ReasoningDetail] | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET
    server_tool_errors: list[ServerToolError] | UnsetType = UNSET


class StopFields(msgspec.Struct, kw_only=True):
    """The Messages API's stop reason and its details.

    OpenAI's document has no such fields. ``native_finish_reason`` is OpenRouter's name
    for ``stop_reason``; the other names are those of the Messages API.
    """

    native_finish_reason: str | UnsetType = UNSET
    stop_sequence: str | UnsetType = UNSET
    stop_details: Raw | UnsetType = UNSET


def stop_fields(end: Finished) -> dict[str, Any]:
    """The `StopFields` of an answer's end."""
    return {
        "native_finish_reason": end.stop_reason,
        "stop_sequence": UNSET if end.stop_sequence is None else end.stop_sequence,
        "stop_details": UNSET if end.stop_details is None else end.stop_details,
    }


class CompletionChoice(StopFields):
    """An entry of ``choices``: one complete answer."""

    index: int
    message: ChatMessage
    finish_reason: Finish
    logprobs: None = None


class ChatCompletion(msgspec.Struct, kw_only=True):
    """The response to a request that is not streamed."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class ChunkDelta(msgspec.Struct):
    """``delta``: a piece of the assistant's message."""

    role: str | UnsetType = UNSET
    content: str | Raw | UnsetType = UNSET
    refusal: str | UnsetType | None = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET
    reasoning_content: str | Raw | UnsetType = UNSET
    reasoning_details: list[ReasoningDetail] | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET
    server_tool_errors: list[ServerToolError] | UnsetType = UNSET


class ChunkChoice(StopFields):
    """An entry of ``choices`` in a chunk."""

    index: int
    delta: ChunkDelta
    logprobs: None = None
    finish_reason: Finish | None = None


class ChatCompletionChunk(msgspec.Struct, kw_only=True):
    """The data of one event of a stream."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET


def usage_of(usage: Usage) -> CompletionUsage:
    """Convert token counts to chat completions' ``usage``."""
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.prompt_tokens + usage.output_tokens,
        prompt_tokens_details=PromptDetails(
            cached_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        ),
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=(
                usage.thinking_tokens if usage.has_thinking_tokens else UNSET
            )
        ),
    )
