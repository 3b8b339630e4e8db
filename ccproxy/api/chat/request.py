"""Decodes ``POST /chat/completions`` to a request of the Messages API. Pure.

Source: ``CreateChatCompletionRequest`` in OpenAI's document.
"""

from collections.abc import Collection, Mapping
from typing import Annotated

import msgspec
from attrs import frozen
from msgspec import UNSET, UnsetType

from ccproxy.api.chat.reasoning import thinking_of
from ccproxy.api.chat.tool_calls import ToolCallFormat
from ccproxy.api.chat.tools import (
    ChatToolParam,
    FunctionParam,
    LegacyFunctionCalls,
    ToolConfig,
    decode_functions,
    decode_tools,
)
from ccproxy.api.common import prompt as prompting
from ccproxy.api.common.content import ContentPart
from ccproxy.api.common.decoding import DecodedRequest, sampling_fields
from ccproxy.api.common.fates import (
    NO_LOGPROBS,
    NO_OBFUSCATION,
    NO_SUCH_FEATURE,
    NO_USERS,
    OTHER_CACHE,
    asks_nothing,
    decode_request,
    ignored,
    name_unused,
    refused,
)
from ccproxy.api.common.output_schema import ResponseFormat, output_config, output_paths
from ccproxy.api.common.pairing import NO_ID
from ccproxy.api.common.past_calls import (
    FunctionCallParam,
    ToolCallParam,
    decode_call,
)
from ccproxy.api.common.prompt import InputMessage
from ccproxy.api.common.prompt_cache import PromptCacheOptions, cache_wish
from ccproxy.api.common.tools import ToolTable
from ccproxy.core.errors import InvalidRequest, MissingParameter, unsupported
from ccproxy.core.messages import Adjustments, MessagesRequest

# The limit in OpenAI's document.
_MOST_CHOICES = 128

# The Messages API has these fields, but some of its models refuse them.
_SAMPLING = ("temperature", "top_p", "top_k")


class _Message(msgspec.Struct):
    role: str
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCallParam | None = None
    name: Annotated[object, ignored("the provider's messages have no names")] = None
    audio: Annotated[object, ignored("audio is not stored")] = None
    # Not in OpenAI's document: two fields for thinking (`ccproxy.api.chat.reasoning`),
    # and `is_error` of the Messages API.
    reasoning_details: object = None
    reasoning_content: object = None
    is_error: bool | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: Annotated[object, ignored(NO_OBFUSCATION)] = None


# The fields that a message of a role uses.
_TOLD = ("content", "refusal", "reasoning_details", "reasoning_content")
_USED: Mapping[str, Collection[str]] = {
    "assistant": (*_TOLD, "tool_calls", "function_call"),
    "tool": ("content", "tool_call_id", "is_error"),
    "function": ("content", "is_error"),
}


class ChatRequest(msgspec.Struct):
    """The body of a request."""

    messages: list[_Message] | UnsetType = UNSET
    # The name of `messages` in the Responses API; some clients send it here.
    input: str | list[_Message] | None = None
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    n: int | None = None
    # Sent with `--forward-sampling` to models that accept them; otherwise ignored.
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    modalities: list[str] | None = None
    response_format: ResponseFormat | None = None
    web_search_options: object = None
    tools: list[ChatToolParam] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionParam] | None = None
    tool_choice: object = None
    function_call: object = None
    presence_penalty: Annotated[float | None, ignored(NO_SUCH_FEATURE)] = None
    frequency_penalty: Annotated[float | None, ignored(NO_SUCH_FEATURE)] = None
    seed: Annotated[int | None, ignored(NO_SUCH_FEATURE)] = None
    logit_bias: Annotated[dict[str, float] | None, ignored(NO_SUCH_FEATURE)] = None
    prediction: Annotated[object, ignored(NO_SUCH_FEATURE)] = None
    verbosity: Annotated[object, ignored(NO_SUCH_FEATURE)] = None
    moderation: Annotated[object, ignored("the provider has its own moderation")] = None
    service_tier: Annotated[object, ignored("the CLI chooses the tier")] = None
    user: Annotated[object, ignored(NO_USERS)] = None
    safety_identifier: Annotated[object, ignored(NO_USERS)] = None
    metadata: Annotated[object, ignored("completions are not stored")] = None
    store: Annotated[object, ignored("completions are not stored")] = None
    prompt_cache_key: Annotated[object, ignored(OTHER_CACHE)] = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: object = None
    logprobs: Annotated[bool | None, refused(NO_LOGPROBS)] = None
    top_logprobs: Annotated[int | None, refused(NO_LOGPROBS)] = None
    audio: Annotated[object, refused("the model has no audio output; request text")] = (
        None
    )


_decoder = msgspec.json.Decoder(ChatRequest)


@frozen(kw_only=True)
class DecodedChatRequest(DecodedRequest):
    """A decoded request.

    Attributes:
        choices: the number of answers.
        effort: the client's ``reasoning_effort``.
        call_format: the form of the calls in the answer.
    """

    choices: int
    effort: str | None
    call_format: ToolCallFormat
    include_usage: bool


def decode_chat(body: bytes) -> DecodedChatRequest:
    """Decode the body of ``POST /chat/completions``.

    Args:
        body: the body, as it was sent.

    Raises:
        ClientError: the request is invalid; ``param`` is the path of the invalid field,
            if the error is about a field.
    """
    given, adjustments = decode_request(_decoder, body)
    _reject_unsupported(given)
    extra = sampling_fields(given, _SAMPLING)
    if given.web_search_options is not None:
        adjustments.search_web("web_search_options")
    tools = _decode_tools(given, adjustments)
    param, messages = _messages(given, adjustments)
    given_messages = _input_messages(
        messages, param, tools.call_format.tools, adjustments
    )
    prompt = prompting.conversation(given_messages, param, adjustments)
    effort = prompting.effort(given.reasoning_effort, "reasoning_effort", adjustments)
    limit, limit_param = _max_tokens(given, adjustments)
    cache = cache_wish(
        given.prompt_cache_options, given.prompt_cache_retention, adjustments
    )
    return DecodedChatRequest(
        request=MessagesRequest(
            size_bytes=len(body),
            model=given.model or "",
            system=prompt.system,
            messages=prompt.messages,
            thinking_models=prompt.thinking_models,
            thinking_prefixes=prompt.thinking_prefixes,
            max_tokens=limit,
            stop_sequences=_stop(given.stop, adjustments),
            tools=tools.tools,
            tool_choice=tools.choice,
            output_config=output_config(
                given.response_format, "response_format", adjustments, effort
            ),
            extra=extra,
            web_search_paths=adjustments.web_searches,
            cache=cache,
            paths={
                "max_tokens": limit_param,
                "messages": param,
                "stop_sequences": "stop",
                "tool_choice": "function_call" if given.functions else "tool_choice",
                **output_paths(
                    given.response_format, "response_format", "reasoning_effort"
                ),
            },
        ),
        choices=_choices(given.n),
        effort=given.reasoning_effort,
        call_format=tools.call_format,
        stream=given.stream or False,
        include_usage=bool(given.stream_options and given.stream_options.include_usage),
        ignored=adjustments.ignored,
        adjusted=adjustments.adjusted,
    )


def _reject_unsupported(request: ChatRequest) -> None:
    if "audio" in (request.modalities or ()):
        unsupported("modalities", "the model has no audio output; request text")
    if request.functions and request.tools:
        raise InvalidRequest(
            "`functions` and `tools` exclude each other; send all as `tools`",
            param="functions",
        )


def _decode_tools(request: ChatRequest, adjustments: Adjustments) -> ToolConfig:
    if request.functions:
        others = {
            "tool_choice": request.tool_choice,
            # A message has one `function_call`.
            "parallel_tool_calls": request.parallel_tool_calls,
        }
        adjustments.ignore(*(n for n, v in others.items() if not asks_nothing(v)))
        return decode_functions(request.functions, request.function_call, adjustments)
    if not asks_nothing(request.function_call):
        adjustments.ignore("function_call")
    return decode_tools(
        request.tools or (),
        request.tool_choice,
        adjustments,
        one_call=request.parallel_tool_calls is False,
    )


def _messages(
    request: ChatRequest, adjustments: Adjustments
) -> tuple[str, list[_Message]]:
    """The name of the field with the messages, and the messages."""
    if not isinstance(request.messages, UnsetType):
        if request.input is not None:
            adjustments.ignore("input")
        return "messages", request.messages
    match request.input:
        case None:
            raise MissingParameter("`messages` is missing", param="messages")
        case str(text):
            return "input", [_Message("user", text)]
        case messages:
            return "input", messages


def _input_messages(
    messages: list[_Message], param: str, tools: ToolTable, adjustments: Adjustments
) -> list[InputMessage]:
    legacy_calls = LegacyFunctionCalls(tools, adjustments)
    return [
        _input_message(message, f"{param}[{index}]", tools, legacy_calls, adjustments)
        for index, message in enumerate(messages)
    ]


def _input_message(
    message: _Message,
    at: str,
    tools: ToolTable,
    legacy_calls: LegacyFunctionCalls,
    adjustments: Adjustments,
) -> InputMessage:
    name_unused(message, ("role", *_USED.get(message.role, _TOLD)), adjustments, at)
    if message.role in ("tool", "function"):
        return InputMessage(
            at,
            "tool",
            message.content,
            result_of=_result_of(message, at, legacy_calls),
            is_error=message.is_error or False,
        )
    if message.reasoning_content and not message.reasoning_details:
        # It has no signature, and the provider refuses thinking without one.
        adjustments.ignore(f"{at}.reasoning_content")
    content, field = message.content, "content"
    if message.refusal and not content:
        content, field = message.refusal, "refusal"
    elif message.refusal:
        parts = content if isinstance(content, list) else [ContentPart("text", content)]
        content = [*parts, ContentPart("refusal", refusal=message.refusal)]
    may_call = message.role == "assistant"
    calls = [
        decode_call(call, f"{at}.tool_calls[{index}]", tools, adjustments)
        for index, call in enumerate((message.tool_calls or ()) if may_call else ())
    ]
    if may_call and message.function_call is not None:
        calls.append(
            legacy_calls.decode_call(message.function_call, f"{at}.function_call")
        )
    return InputMessage(
        at,
        message.role,
        content,
        tuple(calls),
        thinking_of(message.reasoning_details, f"{at}.reasoning_details", adjustments),
        field=field,
        unfinished=tuple(
            call.at for call in calls if adjustments.is_adjusted(call.path_of("input"))
        ),
    )


def _result_of(message: _Message, at: str, legacy_calls: LegacyFunctionCalls) -> str:
    if message.role == "function":
        return legacy_calls.result_of(at)
    return NO_ID if message.tool_call_id is None else message.tool_call_id


def _max_tokens(
    request: ChatRequest, adjustments: Adjustments
) -> tuple[int | None, str]:
    """The limit of the answer's tokens, and the name of the field that sets it."""
    if request.max_completion_tokens is not None:
        param, limit = "max_completion_tokens", request.max_completion_tokens
        if request.max_tokens not in (None, limit):
            adjustments.ignore("max_tokens")
        return prompting.positive(limit, param), param
    return prompting.positive(request.max_tokens, "max_tokens"), "max_tokens"


def _stop(stop: str | list[str] | None, adjustments: Adjustments) -> tuple[str, ...]:
    match stop:
        case None:
            return ()
        case str(text):
            named = {"stop": text}
        case texts:
            named = {f"stop[{index}]": text for index, text in enumerate(texts)}
    return prompting.stops(named, adjustments)


def _choices(n: int | None) -> int:
    if n is not None and not 1 <= n <= _MOST_CHOICES:
        raise InvalidRequest(f"`n` must be from 1 to {_MOST_CHOICES}", param="n")
    return n or 1
