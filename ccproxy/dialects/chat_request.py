"""``POST /chat/completions``: the request, decoded to a prompt.

Every field of OpenAI's document is one of four things: used; accepted and named
as ignored, because it would change the answer and cannot; refused, because the
answer without it would be a lie; or accepted in silence, because it changes
nothing that the client could see (``user``, ``metadata``, ``store`` …).

Source: ``CreateChatCompletionRequest`` in OpenAI's document.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import msgspec
from attrs import frozen

from ccproxy.conversation import (
    Effort,
    Message,
    Prompt,
    Role,
    TextBlock,
    is_blank,
    turns,
)
from ccproxy.dialects.decoding import decode_json
from ccproxy.errors import InvalidRequest, UnsupportedValue

# What every JSON reader on the way can still tell from its neighbours.
_LARGEST_NUMBER = 2**53
# OpenAI's own bound.
_MOST_CHOICES = 128

_EFFORTS: Mapping[str, Effort] = {
    "none": Effort.LOW,
    "minimal": Effort.LOW,
    **{effort.value: effort for effort in Effort},
}
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
_TEXT_PARTS = ("text", "input_text", "output_text")


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[object] | None = None
    function_call: object = None


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
    tools: list[object] | None = None
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
    sampling = {n: _number(request, n) for n in given if n in _FORWARDABLE}
    ignored = [n for n in given if not (forward_sampling and n in sampling)]
    return ChatCall(
        prompt=Prompt(
            model=request.model or "",
            system=_system(request.messages),
            messages=_conversation(request.messages),
            max_tokens=_max_tokens(request),
            stop=_stop(request.stop),
            effort=_effort(request.reasoning_effort),
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


def _number(request: _Request, name: str) -> float:
    value: float = getattr(request, name)
    if abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"`{name}` is out of all bounds", param=name)
    return value


def _refuse_what_cannot_be_done(request: _Request) -> None:
    if request.logprobs or request.top_logprobs:
        _unsupported("logprobs", "the model's log probabilities are not to be had")
    if request.audio is not None or "audio" in (request.modalities or ()):
        param = "audio" if request.audio is not None else "modalities"
        _unsupported(param, "the model does not speak; ask for text")
    if request.web_search_options is not None:
        _unsupported("web_search_options", "web search is not offered here")
    if request.response_format and request.response_format.type != "text":
        _unsupported("response_format", "only text is offered so far")
    for param in ("tools", "functions"):
        if getattr(request, param):
            _unsupported(param, "function calling is not offered so far")
    for param in ("tool_choice", "function_call"):
        if getattr(request, param) not in (None, "none", "auto"):
            _unsupported(param, "there are no tools to choose from")


def _unsupported(param: str, why: str) -> NoReturn:
    raise UnsupportedValue(f"`{param}` is not supported: {why}", param=param)


def _system(messages: Sequence[_Message]) -> str:
    texts = [
        block.text
        for position, message in enumerate(messages)
        if message.role in ("system", "developer")
        for block in _blocks(message, position)
    ]
    return "\n\n".join(text for text in texts if not is_blank(text))


def _conversation(messages: Sequence[_Message]) -> tuple[Message, ...]:
    said: list[Message] = []
    last: int | None = None
    for position, message in enumerate(messages):
        if message.role in ("system", "developer"):
            continue
        role = _role(message, position)
        said.append(Message(role, _blocks(message, position)))
        last = position
    if last is None:
        raise InvalidRequest(
            "`messages` has no message of the user; there is nothing to answer",
            param="messages",
        )
    if said[-1].role is Role.ASSISTANT:
        raise InvalidRequest(
            f"`messages[{last}]`: the conversation ends with the assistant; "
            "end it with a message of the user",
            param=f"messages[{last}].role",
        )
    if all(is_blank(block.text) for block in said[-1].content):
        raise InvalidRequest(
            f"`messages[{last}]`: the last message is blank; say something in it",
            param=f"messages[{last}].content",
        )
    return turns(said)


def _role(message: _Message, position: int) -> Role:
    at = f"messages[{position}]"
    if message.role == "user":
        return Role.USER
    if message.role == "assistant":
        if message.tool_calls:
            _unsupported(f"{at}.tool_calls", "function calling is not offered so far")
        if message.function_call is not None:
            _unsupported(
                f"{at}.function_call", "function calling is not offered so far"
            )
        return Role.ASSISTANT
    if message.role in ("tool", "function"):
        _unsupported(f"{at}.role", "function calling is not offered so far")
    raise InvalidRequest(
        f"`{at}.role`: {message.role!r} is no role; there are system, developer, "
        "user and assistant",
        param=f"{at}.role",
    )


def _blocks(message: _Message, position: int) -> tuple[TextBlock, ...]:
    match message.content:
        case None:
            return (TextBlock(message.refusal),) if message.refusal else ()
        case str(text):
            return (TextBlock(text),)
        case parts:
            return tuple(
                _block(part, f"messages[{position}].content[{index}]")
                for index, part in enumerate(parts)
            )


def _block(part: _Part, at: str) -> TextBlock:
    if part.type in _TEXT_PARTS:
        text, field = part.text, "text"
    elif part.type == "refusal":
        text, field = part.refusal, "refusal"
    else:
        raise UnsupportedValue(
            f"`{at}.type`: content of type {part.type!r} is not supported so far; "
            "send text",
            param=f"{at}.type",
        )
    if text is None:
        raise InvalidRequest(f"`{at}.{field}` is missing", param=f"{at}.{field}")
    return TextBlock(text)


def _max_tokens(request: _Request) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value: int | None = getattr(request, name)
        if value is not None:
            if value < 1:
                raise InvalidRequest(f"`{name}` must be at least 1", param=name)
            return value
    return None


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
            _unsupported(param, "the model cannot stop at white space alone")
    return tuple(named.values())


def _effort(name: str | None) -> Effort | None:
    if name is None:
        return None
    if name not in _EFFORTS:
        raise InvalidRequest(
            f"`reasoning_effort`: {name!r} is none of {', '.join(_EFFORTS)}",
            param="reasoning_effort",
        )
    return _EFFORTS[name]


def _choices(n: int | None) -> int:
    if n is not None and not 1 <= n <= _MOST_CHOICES:
        raise InvalidRequest(f"`n` must be from 1 to {_MOST_CHOICES}", param="n")
    return n or 1
