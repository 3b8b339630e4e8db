"""``POST /responses``: the request, decoded to a prompt and what is echoed of it.

Answers are not kept so far. Whatever builds on a kept one is refused, and the
response says ``store: false`` whatever was asked.

Source: ``CreateResponseBody`` in the Open Responses document, ``CreateResponse`` in
OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.conversation import Prompt, Tool
from ccproxy.dialects import prompting, tools
from ccproxy.dialects.decoding import decode_json
from ccproxy.dialects.prompting import Part, Said, unsupported
from ccproxy.errors import MissingParameter

_FORWARDABLE = ("temperature", "top_p")
_IGNORED = ("presence_penalty", "frequency_penalty", "max_tool_calls")
_NOT_KEPT = "answers are not kept so far; send the whole conversation as `input`"


class _Item(msgspec.Struct):
    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    # Of calls and their outputs.
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""
    output: str | list[Part] | None = None


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Format(msgspec.Struct):
    type: str


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Request(msgspec.Struct):
    input: str | list[_Item] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    # To be ignored, or forwarded; echoed.
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    truncation: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # To be refused, unless they ask for nothing.
    previous_response_id: str | None = None
    conversation: object = None
    background: bool | None = None
    prompt: object = None
    tools: list[_Tool] | None = None
    tool_choice: object = None
    top_logprobs: int | None = None


_decoder = msgspec.json.Decoder(_Request)


@frozen(kw_only=True)
class Echo:
    """What a response repeats of its request, with OpenAI's defaults."""

    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: Mapping[str, str]
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    parallel_tool_calls: bool
    truncation: str
    effort: str | None
    summary: str | None
    verbosity: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    tools: tuple[Mapping[str, Any], ...]
    tool_choice: str


@frozen(kw_only=True)
class ResponsesCall:
    """A decoded request.

    Attributes:
        prompt: what to ask; its ``model`` is the client's name for it.
        ignored: fields that were given and have no effect.
    """

    prompt: Prompt
    stream: bool
    echo: Echo
    ignored: tuple[str, ...]


def decode_responses(body: bytes, *, forward_sampling: bool = False) -> ResponsesCall:
    """Decode the body of ``POST /responses``.

    Args:
        body: as it came.
        forward_sampling: put temperature and ``top_p`` into the prompt instead of
            ignoring them.

    Raises:
        ClientError: with ``param``, the path of the offending field.
    """
    request = decode_json(_decoder, body)
    _refuse_what_cannot_be_done(request)
    said = _said(request.input)
    given = [
        name
        for name in (*_FORWARDABLE, *_IGNORED)
        if getattr(request, name) is not None
    ]
    sampling = {
        name: prompting.number(getattr(request, name), name)
        for name in given
        if name in _FORWARDABLE
    }
    effort = request.reasoning.effort if request.reasoning else None
    if request.tools and request.parallel_tool_calls is False:
        given.append("parallel_tool_calls")
    return ResponsesCall(
        prompt=Prompt(
            model=request.model or "",
            system=prompting.system_prompt(said, first=request.instructions or ""),
            messages=prompting.conversation(said, "input"),
            max_tokens=prompting.positive(
                request.max_output_tokens, "max_output_tokens"
            ),
            effort=prompting.effort(effort, "reasoning.effort"),
            tools=_offered(request),
            sampling=sampling if forward_sampling else {},
        ),
        stream=request.stream or False,
        echo=_echo(request),
        ignored=tuple(
            name for name in given if not (forward_sampling and name in sampling)
        ),
    )


def _refuse_what_cannot_be_done(request: _Request) -> None:
    for param in ("previous_response_id", "conversation"):
        if getattr(request, param) is not None:
            unsupported(param, _NOT_KEPT)
    if request.background:
        unsupported("background", _NOT_KEPT)
    if request.prompt is not None:
        unsupported("prompt", "prompt templates are OpenAI's own")
    if request.tool_choice not in (None, "none", "auto"):
        unsupported("tool_choice", "a call cannot be forced so far; leave it `auto`")
    if request.top_logprobs:
        unsupported("top_logprobs", "the model's log probabilities are not to be had")
    if request.text and request.text.format and request.text.format.type != "text":
        unsupported("text.format", "only text is offered so far")


def _said(given: str | Sequence[_Item] | None) -> Sequence[Said]:
    match given:
        case None:
            raise MissingParameter("`input` is missing", param="input")
        case str(text):
            return [Said("input", "user", text)]
        case items:
            said = [_message(item, f"input[{n}]") for n, item in enumerate(items)]
            return [message for message in said if message is not None]


def _message(item: _Item, at: str) -> Said | None:
    match item.type:
        case "message":
            return Said(at, _required(item.role, f"{at}.role"), item.content)
        case "reasoning":
            # Thinking of an earlier turn, without the seal to give it back by.
            return None
        case "item_reference":
            unsupported(f"{at}.type", _NOT_KEPT)
        case "function_call":
            name = _required(item.name, f"{at}.name")
            identifier = _required(item.call_id, f"{at}.call_id")
            call = tools.called(identifier, name, item.arguments, at)
            return Said(at, "assistant", None, (call,))
        case "function_call_output":
            identifier = _required(item.call_id, f"{at}.call_id")
            return Said(at, "tool", item.output, result_of=identifier)
        case other:
            unsupported(f"{at}.type", f"there are no items of type {other!r} so far")


def _required(value: str | None, param: str) -> str:
    if value is None:
        raise MissingParameter(f"`{param}` is missing", param=param)
    return value


def _offered(request: _Request) -> tuple[Tool, ...]:
    found = []
    for index, tool in enumerate(request.tools or ()):
        at = f"tools[{index}]"
        if tool.type != "function":
            unsupported(f"{at}.type", f"{tool.type!r} is not offered so far")
        name = _required(tool.name, f"{at}.name")
        found.append(tools.offered(name, tool.description, tool.parameters, at))
    tools.check_names(found, "tools")
    return () if request.tool_choice == "none" else tuple(found)


def _echo(request: _Request) -> Echo:
    reasoning = request.reasoning or _Reasoning()
    return Echo(
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        max_tool_calls=request.max_tool_calls,
        metadata=request.metadata or {},
        temperature=_or(request.temperature, 1.0),
        top_p=_or(request.top_p, 1.0),
        presence_penalty=_or(request.presence_penalty, 0.0),
        frequency_penalty=_or(request.frequency_penalty, 0.0),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        truncation=request.truncation or "disabled",
        effort=reasoning.effort,
        summary=reasoning.summary,
        verbosity=request.text.verbosity if request.text else None,
        safety_identifier=request.safety_identifier,
        prompt_cache_key=request.prompt_cache_key,
        tools=tuple(msgspec.to_builtins(tool) for tool in request.tools or ()),
        tool_choice="none" if request.tool_choice == "none" else "auto",
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
