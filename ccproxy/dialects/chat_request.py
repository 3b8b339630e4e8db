"""``POST /chat/completions``: the request, decoded to a prompt.

Every field of OpenAI's document is one of four things: used; accepted and named
as ignored, because it would change the answer and cannot; refused, because the
answer without it would be a lie; or accepted in silence, because it changes
nothing that the client could see (``user``, ``metadata``, ``store`` …).

Source: ``CreateChatCompletionRequest`` in OpenAI's document.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.conversation import Prompt, Tool, ToolUseBlock, is_blank
from ccproxy.dialects import prompting, tools
from ccproxy.dialects.decoding import decode_json
from ccproxy.dialects.prompting import Part, Said
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import InvalidRequest, MissingParameter

_OLD_FUNCTIONS = "functions of the old style are not offered; send `tools`"
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


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class _Call(msgspec.Struct):
    id: str
    function: _CalledFunction | None = None
    type: str = "function"


class _Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    function_call: object = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ResponseFormat(msgspec.Struct):
    type: str


class _Request(msgspec.Struct):
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
    response_format: _ResponseFormat | None = None
    web_search_options: object = None
    tools: list[_Tool] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[object] | None = None
    tool_choice: object = None
    function_call: object = None


_decoder = msgspec.json.Decoder(_Request)


@frozen(kw_only=True)
class ChatCall:
    """A decoded request.

    Attributes:
        prompt: what to ask; its ``model`` is the client's name for it.
        choices: how many answers.
        ignored: fields that were given and have no effect.
    """

    prompt: Prompt
    choices: int
    stream: bool
    include_usage: bool
    ignored: tuple[str, ...]


def decode_chat(body: bytes, *, forward_sampling: bool = False) -> ChatCall:
    """Decode the body of ``POST /chat/completions``.

    Args:
        body: as it came.
        forward_sampling: put temperature and its like into the prompt instead of
            ignoring them.

    Raises:
        ClientError: with ``param``, the path of the offending field.
    """
    request = decode_json(_decoder, body)
    _refuse_what_cannot_be_done(request)
    given = _given(request, (*_FORWARDABLE, *_IGNORED))
    sampling = {
        name: prompting.number(getattr(request, name), name)
        for name in given
        if name in _FORWARDABLE
    }
    ignored = [n for n in given if not (forward_sampling and n in sampling)]
    if request.tools and request.parallel_tool_calls is False:
        ignored.append("parallel_tool_calls")
    said = [_said(m, f"messages[{n}]") for n, m in enumerate(request.messages)]
    return ChatCall(
        prompt=Prompt(
            model=request.model or "",
            system=prompting.system_prompt(said),
            messages=prompting.conversation(said, "messages"),
            max_tokens=_max_tokens(request),
            stop=_stop(request.stop),
            effort=prompting.effort(request.reasoning_effort, "reasoning_effort"),
            tools=_offered(request),
            sampling=sampling if forward_sampling else {},
        ),
        choices=_choices(request.n),
        stream=request.stream or False,
        include_usage=bool(
            request.stream_options and request.stream_options.include_usage
        ),
        ignored=tuple(ignored),
    )


def _given(request: _Request, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(request, name) not in (None, {})]


def _refuse_what_cannot_be_done(request: _Request) -> None:
    if request.logprobs or request.top_logprobs:
        unsupported("logprobs", "the model's log probabilities are not to be had")
    if request.audio is not None or "audio" in (request.modalities or ()):
        param = "audio" if request.audio is not None else "modalities"
        unsupported(param, "the model does not speak; ask for text")
    if request.web_search_options is not None:
        unsupported("web_search_options", "web search is not offered here")
    if request.response_format and request.response_format.type != "text":
        unsupported("response_format", "only text is offered so far")
    if request.functions:
        unsupported("functions", _OLD_FUNCTIONS)
    if request.function_call not in (None, "none", "auto"):
        unsupported("function_call", _OLD_FUNCTIONS)
    if request.tool_choice not in (None, "none", "auto"):
        unsupported("tool_choice", "a call cannot be forced so far; leave it `auto`")


def _said(message: _Message, at: str) -> Said:
    if message.role == "function":
        unsupported(f"{at}.role", _OLD_FUNCTIONS)
    if message.function_call:
        unsupported(f"{at}.function_call", _OLD_FUNCTIONS)
    if message.role == "tool":
        if message.tool_call_id is None:
            param = f"{at}.tool_call_id"
            raise MissingParameter(f"`{param}` is missing", param=param)
        return Said(at, message.role, message.content, result_of=message.tool_call_id)
    content = message.content
    if content is None and message.refusal is not None:
        content = message.refusal
    calls = [
        _called(call, f"{at}.tool_calls[{index}]")
        for index, call in enumerate(message.tool_calls or ())
    ]
    return Said(at, message.role, content, tuple(calls))


def _called(call: _Call, at: str) -> ToolUseBlock:
    if call.function is None:
        unsupported(f"{at}.type", "only functions can be called so far")
    function = call.function
    return tools.called(call.id, function.name, function.arguments, f"{at}.function")


def _offered(request: _Request) -> tuple[Tool, ...]:
    found = []
    for index, tool in enumerate(request.tools or ()):
        at = f"tools[{index}]"
        if tool.type != "function":
            unsupported(f"{at}.type", "only functions can be offered so far")
        if tool.function is None:
            param = f"{at}.function"
            raise MissingParameter(f"`{param}` is missing", param=param)
        function = tool.function
        about = (function.name, function.description, function.parameters)
        found.append(tools.offered(*about, f"{at}.function"))
    tools.check_names(found, "tools")
    return () if request.tool_choice == "none" else tuple(found)


def _max_tokens(request: _Request) -> int | None:
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
    for param, text in named.items():
        if is_blank(text):
            unsupported(param, "the model cannot stop at white space alone")
    return tuple(named.values())


def _choices(n: int | None) -> int:
    if n is not None and not 1 <= n <= _MOST_CHOICES:
        raise InvalidRequest(f"`n` must be from 1 to {_MOST_CHOICES}", param="n")
    return n or 1
