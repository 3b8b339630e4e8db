"""Decodes ``POST /chat/completions`` to a request of the Messages API. Pure.

Source: ``CreateChatCompletionRequest`` in OpenAI's document.
"""

from typing import Annotated

import msgspec
from attrs import frozen
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.chat.messages import ChatMessageParam, MessageReader
from ccproxy.api.chat.tool_calls import ToolCallFormat
from ccproxy.api.chat.tools import (
    ChatToolParam,
    FunctionParam,
    ToolConfig,
    decode_functions,
    decode_tools,
)
from ccproxy.api.common import prompt as prompting
from ccproxy.api.common.alternatives import all_given, first_given
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
    left_out,
    refused,
)
from ccproxy.api.common.output_schema import ResponseFormat, output_config, output_paths
from ccproxy.api.common.prompt import InputMessage
from ccproxy.api.common.prompt_cache import PromptCacheOptions, cache_wish
from ccproxy.api.common.web_search import WebSearchOptions, web_search
from ccproxy.core.encoding import exact_decoder
from ccproxy.core.errors import InvalidRequest, MissingParameter, unsupported
from ccproxy.core.messages import Adjustments, MessagesRequest

# The limit in OpenAI's document.
_MOST_CHOICES = 128

_NO_RESPONSES = "send all messages, or use `/v1/responses`"
# The fields that limit the answer's tokens; the first field that is given counts.
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_SEARCH = "web_search_options"
# The Messages API has these fields, but some of its models refuse them.
_SAMPLING = ("temperature", "top_p", "top_k")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: Annotated[object, ignored(NO_OBFUSCATION)] = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Text(msgspec.Struct):
    format: ResponseFormat | None = None
    verbosity: Annotated[object, ignored(NO_SUCH_FEATURE)] = None


class ChatRequest(msgspec.Struct):
    """The body of a request."""

    messages: list[ChatMessageParam] | UnsetType = UNSET
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
    web_search_options: WebSearchOptions | None = None
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
    logprobs: Annotated[bool | None, left_out(NO_LOGPROBS)] = None
    top_logprobs: Annotated[int | None, left_out(NO_LOGPROBS)] = None
    audio: Annotated[object, refused("the model has no audio output; request text")] = (
        None
    )
    # Fields of the Responses API and of the Messages API, which some clients send here.
    input: str | list[Raw] | None = None
    instructions: str | None = None
    system: str | list[ContentPart] | None = None
    max_output_tokens: int | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    stop_sequences: list[str] | None = None
    previous_response_id: Annotated[object, refused(_NO_RESPONSES)] = None
    conversation: Annotated[object, refused(_NO_RESPONSES)] = None


_decoder = exact_decoder(ChatRequest)


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


def decode_chat(body: bytes, *, repairs: bool = False) -> DecodedChatRequest:
    """Decode the body of ``POST /chat/completions``.

    Args:
        body: the body, as it was sent.
        repairs: whether calls and results that do not match are repaired.

    Raises:
        ClientError: the request is invalid; ``param`` is the path of the invalid field,
            if the error is about a field.
    """
    given, adjustments = decode_request(_decoder, body)
    _reject_unsupported(given)
    extra = sampling_fields(given, _SAMPLING)
    options = given.web_search_options
    if options is not None:
        place, filters = options.user_location, options.filters
        adjustments.search_web(
            web_search(_SEARCH, user_location=place, filters=filters)
        )
    tools = _decode_tools(given, adjustments)
    reader = MessageReader(tools.call_format.tools, adjustments)
    param, messages = _messages(given, reader, adjustments)
    told = [*_instructions(given), *messages]
    prompt = prompting.conversation(told, param, adjustments, repairs=repairs)
    other_effort = given.reasoning.effort if given.reasoning else None
    given_effort, effort_param = first_given(
        {"reasoning_effort": given.reasoning_effort, "reasoning.effort": other_effort},
        adjustments,
    )
    effort = prompting.effort(given_effort, effort_param, adjustments)
    other_form = given.text.format if given.text else None
    form, form_param = first_given(
        {"response_format": given.response_format, "text.format": other_form},
        adjustments,
    )
    limit, limit_param = first_given(
        {name: getattr(given, name) for name in _LIMITS}, adjustments
    )
    stops = all_given({"stop": given.stop, "stop_sequences": given.stop_sequences})
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
            max_tokens=prompting.positive(limit, limit_param),
            stop_sequences=prompting.stops(stops, adjustments),
            tools=tools.tools,
            tool_choice=tools.choice,
            output_config=output_config(form, form_param, adjustments, effort),
            extra=extra,
            web_searches=adjustments.web_searches,
            continues_pauses=True,
            cache=cache,
            paths={
                "max_tokens": limit_param,
                "messages": param,
                "system": f"{param}[0].content",
                "stop_sequences": "stop" if given.stop else "stop_sequences",
                "tool_choice": "function_call" if given.functions else "tool_choice",
                **output_paths(form, form_param, effort_param),
            },
        ),
        choices=_choices(given.n),
        effort=given_effort,
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
            # Has no effect: with `functions`, a message has at most one call.
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
    request: ChatRequest, reader: MessageReader, adjustments: Adjustments
) -> tuple[str, list[InputMessage]]:
    """The name of the field with the messages, and the messages."""
    if not isinstance(request.messages, UnsetType):
        if request.input is not None:
            adjustments.ignore("input")
        return "messages", reader.messages(request.messages, "messages")
    match request.input:
        case None:
            raise MissingParameter("`messages` is missing", param="messages")
        case str(text):
            return "input", [InputMessage("input", "user", text, field="")]
        case items:
            return "input", reader.items(items, "input")


def _instructions(request: ChatRequest) -> list[InputMessage]:
    """The system prompt in the forms of the other APIs."""
    given = {"instructions": request.instructions, "system": request.system}
    return [
        InputMessage(name, "system", content, field="")
        for name, content in given.items()
        if content
    ]


def _choices(n: int | None) -> int:
    if n is not None and not 1 <= n <= _MOST_CHOICES:
        raise InvalidRequest(f"`n` must be from 1 to {_MOST_CHOICES}", param="n")
    return n or 1
