"""``POST /chat/completions``: the request, decoded to a prompt.

Every field of OpenAI's document is one of four things: used; accepted and named
as ignored, because it would change the answer and cannot; refused, because the
answer without it would be a lie; or accepted in silence, because it changes
nothing that the client could see (``user``, ``metadata``, ``store`` …).

Source: ``CreateChatCompletionRequest`` in OpenAI's document.
"""

from typing import Any

import msgspec
from attrs import frozen

from ccproxy.conversation import Prompt
from ccproxy.dialects import prompting
from ccproxy.dialects.chat_calls import CallForms
from ccproxy.dialects.chat_reasoning import thinking_of
from ccproxy.dialects.chat_tools import (
    Call,
    CalledFunction,
    Function,
    Offer,
    OfferedTool,
    OldCalls,
    called,
    offer,
    offer_functions,
)
from ccproxy.dialects.decoding import decode_json
from ccproxy.dialects.prompting import Part, Said
from ccproxy.dialects.refusal import unsupported
from ccproxy.dialects.sampling import sort_sampling
from ccproxy.dialects.structured import Format, schema_of
from ccproxy.errors import InvalidRequest, MissingParameter

# OpenAI's own bound.
_MOST_CHOICES = 128

# The Messages API knows these; sending them is the operator's choice.
_FORWARDABLE = ("temperature", "top_p", "top_k")
_IGNORED = (
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "prediction",
    "verbosity",
)


class _Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    # Not OpenAI's: see `thinking_of`, and the Messages API's own word.
    reasoning_details: list[Any] | None = None
    is_error: bool | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The body of a request."""

    messages: list[_Message]
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    n: int | None = None
    # To be ignored, or forwarded.
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    prediction: object = None
    verbosity: object = None
    # To be refused, unless they ask for nothing.
    logprobs: bool | None = None
    top_logprobs: int | None = None
    modalities: list[str] | None = None
    audio: object = None
    response_format: Format | None = None
    web_search_options: object = None
    tools: list[OfferedTool] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    tool_choice: object = None
    function_call: object = None


_decoder = msgspec.json.Decoder(ChatRequest)


@frozen(kw_only=True)
class ChatCall:
    """A decoded request.

    Attributes:
        prompt: what to ask; its ``model`` is the client's name for it.
        choices: how many answers.
        effort: how hard the model is to think, in the client's word.
        forms: in which form the client wants its calls.
        ignored: fields that were given and have no effect.
    """

    prompt: Prompt
    choices: int
    effort: str | None
    forms: CallForms
    stream: bool
    include_usage: bool
    ignored: tuple[str, ...]


def decode_chat(
    body: bytes, *, forward_sampling: bool = False, web_search: bool = False
) -> ChatCall:
    """Decode the body of ``POST /chat/completions``.

    Args:
        body: as it came.
        forward_sampling: put temperature and its like into the prompt instead of
            ignoring them.
        web_search: whether the model can search the web.

    Raises:
        ClientError: with ``param``, the path of the offending field.
    """
    request = decode_json(_decoder, body)
    _refuse_what_cannot_be_done(request)
    sampling = sort_sampling(request, _FORWARDABLE, _IGNORED, forward=forward_sampling)
    ignored = [*sampling.ignored]
    if request.web_search_options is not None and not web_search:
        ignored.append("web_search_options")
    offered = _offer(request, web_search=web_search)
    old_calls = OldCalls()
    said = [
        _said(message, f"messages[{index}]", old_calls)
        for index, message in enumerate(request.messages)
    ]
    return ChatCall(
        prompt=Prompt(
            model=request.model or "",
            system=prompting.system_prompt(said),
            messages=prompting.conversation(said, "messages"),
            max_tokens=_max_tokens(request),
            stop=_stop(request.stop),
            effort=prompting.effort(request.reasoning_effort, "reasoning_effort"),
            tools=offered.tools,
            must_call=offered.must_call,
            parallel_calls=not _one_call(request, offered),
            schema=schema_of(request.response_format, "response_format"),
            sampling=sampling.sent,
        ),
        choices=_choices(request.n),
        effort=request.reasoning_effort,
        forms=offered.forms,
        stream=request.stream or False,
        include_usage=bool(
            request.stream_options and request.stream_options.include_usage
        ),
        ignored=(*ignored, *offered.ignored),
    )


def _refuse_what_cannot_be_done(request: ChatRequest) -> None:
    if request.logprobs or request.top_logprobs:
        unsupported("logprobs", "the model's log probabilities are not to be had")
    if request.audio is not None or "audio" in (request.modalities or ()):
        param = "audio" if request.audio is not None else "modalities"
        unsupported(param, "the model does not speak; ask for text")
    if request.functions and request.tools:
        raise InvalidRequest(
            "`functions` and `tools` exclude each other; send all as `tools`",
            param="functions",
        )


def _offer(request: ChatRequest, *, web_search: bool) -> Offer:
    if request.functions:
        return offer_functions(request.functions, request.function_call)
    given = request.tools or ()
    return offer(given, request.tool_choice, web_search=web_search)


def _one_call(request: ChatRequest, offered: Offer) -> bool:
    if not offered.tools:
        return False
    return request.parallel_tool_calls is False or offered.forms.is_old


def _said(message: _Message, at: str, old_calls: OldCalls) -> Said:
    if message.role in ("tool", "function"):
        return Said(
            at,
            "tool",
            message.content,
            result_of=_result_of(message, at, old_calls),
            is_error=message.is_error or False,
        )
    content = message.content
    if content is None and message.refusal is not None:
        content = message.refusal
    calls = [
        called(call, f"{at}.tool_calls[{index}]")
        for index, call in enumerate(message.tool_calls or ())
    ]
    if message.function_call is not None:
        old = old_calls.called(message.function_call, f"{at}.function_call")
        calls.append(old)
    return Said(
        at,
        message.role,
        content,
        tuple(calls),
        thinking_of(message.reasoning_details, f"{at}.reasoning_details"),
    )


def _result_of(message: _Message, at: str, old_calls: OldCalls) -> str:
    if message.role == "function":
        return old_calls.result_of(at)
    if message.tool_call_id is None:
        param = f"{at}.tool_call_id"
        raise MissingParameter(f"`{param}` is missing", param=param)
    return message.tool_call_id


def _max_tokens(request: ChatRequest) -> int | None:
    if request.max_completion_tokens is not None:
        return prompting.positive(
            request.max_completion_tokens, "max_completion_tokens"
        )
    return prompting.positive(request.max_tokens, "max_tokens")


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    match stop:
        case None:
            return ()
        case str(text):
            named = {"stop": text}
        case texts:
            named = {f"stop[{index}]": text for index, text in enumerate(texts)}
    return prompting.stops(named)


def _choices(n: int | None) -> int:
    if n is not None and not 1 <= n <= _MOST_CHOICES:
        raise InvalidRequest(f"`n` must be from 1 to {_MOST_CHOICES}", param="n")
    return n or 1
