"""The structs of the Messages API's requests and responses. Pure.

Source: ``MessageCreateParams``, ``Message``, ``Usage`` and the raw stream events of
anthropic-python 2.14.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from attrs import frozen
from msgspec import Raw

from ccproxy.core.stream import Finished, Usage


class MessageParam(msgspec.Struct):
    """An entry of ``messages``; the blocks of its content have any type."""

    role: str
    # Only a system message may have no content.
    content: str | list[Raw] | msgspec.UnsetType = msgspec.UNSET


class ToolParam(msgspec.Struct):
    """An entry of ``tools``: a tool of the client, or a tool that Anthropic defines."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Raw] | msgspec.UnsetType = msgspec.UNSET


class ToolChoiceParam(msgspec.Struct):
    """``tool_choice``; only the type ``tool`` has a ``name``."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingParam(msgspec.Struct):
    """``thinking``: whether the model thinks, how long, and what of it is shown."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormatParam(msgspec.Struct):
    """``output_config.format``: the required format of the answer."""

    type: str
    schema: dict[str, Raw] | None = None


class OutputParam(msgspec.Struct):
    """``output_config``: the effort, and the format of the answer."""

    effort: str | None = None
    format: OutputFormatParam | None = None


class CreateMessageRequest(msgspec.Struct):
    """The fields of a request that the proxy reads. Others are sent on unchanged."""

    messages: list[MessageParam]
    model: str | None = None
    max_tokens: int | None = None
    system: str | list[Raw] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[ToolParam] | None = None
    tool_choice: ToolChoiceParam | None = None
    thinking: ThinkingParam | None = None
    output_config: OutputParam | None = None
    # The name of `output_config.format` in older betas.
    output_format: OutputFormatParam | None = None


@frozen(kw_only=True)
class MessageMeta:
    """The ids of an answer: of the message, and of the request."""

    id: str
    request_id: str


class OutputTokensDetails(msgspec.Struct):
    """``usage.output_tokens_details``."""

    thinking_tokens: int


class MessageUsage(msgspec.Struct):
    """``usage``: counts that do not overlap; the provider may send more fields."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None


class MessageObject(msgspec.Struct, kw_only=True):
    """The assistant's message; in ``message_start`` it has no stop reason.

    The provider may send more fields, such as ``container``.
    """

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[Raw]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw | None = None
    usage: MessageUsage


class MessageTokensCount(msgspec.Struct):
    """The answer to ``count_tokens``."""

    input_tokens: int


_NULL = Raw(b"null")


def message_document(
    meta: MessageMeta,
    model: str,
    usage: Usage,
    content: list[Raw] | None = None,
    end: Finished | None = None,
    fields: Mapping[str, Raw] | None = None,
) -> Mapping[str, object]:
    """The fields of a `MessageObject`, with all fields of the provider's usage.

    Args:
        meta: has the message's id.
        model: the full id of the model that answers.
        usage: the usage so far.
        content: the message's blocks; None: there is none yet.
        end: the end of the answer; None: the answer is not over.
        fields: all other fields of the provider's message.
    """
    message = MessageObject(
        id=meta.id,
        model=model,
        content=content or [],
        **({} if end is None else stop_fields(end)),
        usage=_counts(usage),
    )
    known = {**msgspec.structs.asdict(message), "usage": usage_document(usage)}
    return {**(fields or {}), **known}


def stop_fields(end: Finished) -> dict[str, Any]:
    """The stop reason and its details, for a message and for ``message_delta``."""
    return {
        "stop_reason": end.stop_reason,
        "stop_sequence": end.stop_sequence,
        "stop_details": end.stop_details,
    }


def usage_document(usage: Usage) -> Mapping[str, object]:
    """The fields of a `MessageUsage` that the provider has sent, and other fields.

    In native mode only the counts are known.
    """
    if not usage.details:
        return msgspec.structs.asdict(_counts(usage))
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    sent = {k: v for k, v in usage.details.items() if v != _NULL}
    return {**counts, **sent, **counts}


def _counts(usage: Usage) -> MessageUsage:
    return MessageUsage(
        input_tokens=usage.input_tokens,
        cache_creation_input_tokens=usage.cache_write_tokens,
        cache_read_input_tokens=usage.cache_read_tokens,
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokensDetails(usage.thinking_tokens),
    )
