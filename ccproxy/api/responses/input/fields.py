"""The fields of ``POST /responses``, with the fate of each. Pure.

Source: ``CreateResponseBody`` in the Open Responses document, ``CreateResponse`` in
OpenAI's.
"""

from typing import Annotated

import msgspec

from ccproxy.api.common.fates import (
    NO_LOGPROBS,
    NO_OBFUSCATION,
    NO_SUCH_FEATURE,
    NO_USERS,
    OTHER_CACHE,
    ignored,
    left_out,
    refused,
)
from ccproxy.api.common.output_schema import ResponseFormat
from ccproxy.api.common.prompt_cache import PromptCacheOptions

_ALL_REASONING = "all reasoning of the conversation is sent"


class ReasoningParam(msgspec.Struct):
    """``reasoning``."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: Annotated[object, ignored("its name is `summary`")] = None
    mode: Annotated[object, ignored(NO_SUCH_FEATURE)] = None
    context: Annotated[object, ignored(_ALL_REASONING)] = None


class TextParam(msgspec.Struct):
    """``text``."""

    format: ResponseFormat | None = None
    verbosity: Annotated[str | None, ignored(NO_SUCH_FEATURE)] = None


class _StreamOptions(msgspec.Struct):
    include_obfuscation: Annotated[object, ignored(NO_OBFUSCATION)] = None


class ConversationParam(msgspec.Struct):
    """``conversation``, as an object."""

    id: str


class ResponsesRequest(msgspec.Struct):
    """The body of a request."""

    input: str | list[msgspec.Raw] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_output_tokens: int | None = None
    reasoning: ReasoningParam | None = None
    text: TextParam | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationParam | None = None
    include: list[str] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: object = None
    parallel_tool_calls: bool | None = None
    # Sent with `--forward-sampling` to models that accept them; otherwise ignored.
    temperature: float | None = None
    top_p: float | None = None
    truncation: str | None = None
    # The response repeats the next five fields.
    presence_penalty: Annotated[float | None, ignored(NO_SUCH_FEATURE)] = None
    frequency_penalty: Annotated[float | None, ignored(NO_SUCH_FEATURE)] = None
    max_tool_calls: int | None = None
    safety_identifier: Annotated[str | None, ignored(NO_USERS)] = None
    prompt_cache_key: Annotated[str | None, ignored(OTHER_CACHE)] = None
    user: Annotated[object, ignored(NO_USERS)] = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: object = None
    service_tier: Annotated[object, ignored("the CLI chooses the tier")] = None
    context_management: Annotated[object, ignored("use `/responses/compact`")] = None
    moderation: Annotated[object, ignored("the provider has its own moderation")] = None
    access_programs: Annotated[object, ignored(NO_SUCH_FEATURE)] = None
    background_options: Annotated[object, ignored("answers are made at once")] = None
    image: Annotated[object, ignored("the provider scales images itself")] = None
    prompt: Annotated[object, refused("prompt templates are OpenAI's own")] = None
    # Fields of chat completions, which some clients send here.
    messages: list[msgspec.Raw] | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    response_format: ResponseFormat | None = None
    stop: str | list[str] | None = None
    top_logprobs: Annotated[int | None, left_out(NO_LOGPROBS)] = None
