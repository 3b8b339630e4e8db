"""``POST /messages``: a request of the Messages API, decoded to a prompt. Pure.

The neutral form is its own, so there is little to translate. As in the other dialects
each field is used, ignored and named, refused, or accepted in silence because nobody
could see its effect (``metadata``, ``cache_control``, ``citations`` …).

Thinking is shown to whoever asks for it: the model thinks in any case, and clients that
do not expect it take the first block for the text.

Source: ``MessageCreateParams`` of anthropic-python 2.14, stable and beta; client facts,
"anthropic".
"""

from typing import Any

import msgspec
from attrs import frozen

from ccproxy.conversation import Message, Prompt, Role, is_blank
from ccproxy.dialects import prompting
from ccproxy.dialects.decoding import decode_json
from ccproxy.dialects.messages_blocks import Part, message, texts
from ccproxy.dialects.messages_tools import OfferedTool, ToolChoice, offer
from ccproxy.dialects.refusal import unsupported
from ccproxy.dialects.sampling import sort_sampling
from ccproxy.dialects.structured import Format, schema_of
from ccproxy.errors import InvalidRequest, ThreadsUnsupported

_FORWARDABLE = ("temperature", "top_p", "top_k")
_IGNORED = ("context_management", "fallbacks")
_REFUSED = {
    "container": "there are no containers here",
    "mcp_servers": "the model reaches no MCP servers; run their tools in your client",
    "compaction": "conversations are not compacted here; send a shorter one",
    "inference_geo": "where the model runs cannot be chosen here",
}
_ROLES = {role.value: role for role in Role}
_THINKING = ("adaptive", "enabled", "disabled", "between_tools")


class _Message(msgspec.Struct):
    role: str
    content: str | list[Part]


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class MessagesRequest(msgspec.Struct):
    """The body of a request."""

    messages: list[_Message]
    model: str | None = None
    max_tokens: int | None = None
    system: str | list[Part] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[OfferedTool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    # What `output_config.format` was called in betas.
    output_format: Format | None = None
    # To be ignored, or forwarded.
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    context_management: Any = None
    fallbacks: Any = None
    speed: str | None = None
    # To be refused.
    thread: Any = None
    container: Any = None
    mcp_servers: list[Any] | None = None
    compaction: Any = None
    inference_geo: str | None = None


_decoder = msgspec.json.Decoder(MessagesRequest)


@frozen(kw_only=True)
class ThinkingForm:
    """What a client is shown of the model's thinking.

    Attributes:
        is_shown: whether there are blocks of it.
        has_text: whether they say anything, or are only signed.
    """

    is_shown: bool = False
    has_text: bool = True


@frozen(kw_only=True)
class MessagesCall:
    """A decoded request.

    Attributes:
        prompt: what to ask; its ``model`` is the client's name for it.
        effort: how hard the model is to think, in the client's word.
        ignored: fields that were given and have no effect.
    """

    prompt: Prompt
    stream: bool
    effort: str | None
    thinking: ThinkingForm
    ignored: tuple[str, ...]


def decode_messages(
    body: bytes, *, forward_sampling: bool = False, web_search: bool = False
) -> MessagesCall:
    """Decode the body of ``POST /messages``.

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
    offered = offer(request.tools or (), request.tool_choice, web_search=web_search)
    config = request.output_config or _OutputConfig()
    stops = request.stop_sequences or ()
    system, messages = _said(request)
    return MessagesCall(
        prompt=Prompt(
            model=request.model or "",
            system=system,
            messages=messages,
            max_tokens=prompting.positive(request.max_tokens, "max_tokens"),
            stop=prompting.stops(
                {f"stop_sequences[{n}]": text for n, text in enumerate(stops)}
            ),
            effort=prompting.effort(config.effort, "output_config.effort"),
            tools=offered.tools,
            must_call=offered.must_call,
            parallel_calls=offered.parallel_calls,
            schema=schema_of(config.format, "output_config.format")
            or schema_of(request.output_format, "output_format"),
            sampling=sampling.sent,
        ),
        stream=request.stream or False,
        effort=config.effort,
        thinking=_thinking_form(request.thinking),
        ignored=(
            *sampling.ignored,
            *(("speed",) if request.speed == "fast" else ()),
            *_ignored_thinking(request.thinking),
            *offered.ignored,
        ),
    )


def _refuse_what_cannot_be_done(request: MessagesRequest) -> None:
    if request.thread is not None:
        raise ThreadsUnsupported(
            "`thread` is not supported: no conversation is kept here; send all "
            "messages, without `thread`",
            param="thread",
        )
    for name, why in _REFUSED.items():
        if getattr(request, name) not in (None, []):
            unsupported(name, why)


def _said(request: MessagesRequest) -> tuple[str, tuple[Message, ...]]:
    """The system prompt, and the turns."""
    system = texts(request.system or "", "system")
    spoken: list[tuple[Message, str]] = []
    for index, given in enumerate(request.messages):
        at = f"messages[{index}]"
        if given.role == "system":
            system += texts(given.content, f"{at}.content")
        elif given.role in _ROLES:
            spoken.append((message(_ROLES[given.role], given.content, at), at))
        else:
            raise InvalidRequest(
                f"`{at}.role`: {given.role!r} is no role; there are user, assistant "
                "and system",
                param=f"{at}.role",
            )
    told = "\n\n".join(text for text in system if not is_blank(text))
    return told, prompting.native(spoken, "messages")


def _thinking_form(thinking: _Thinking | None) -> ThinkingForm:
    if thinking is not None and thinking.type not in _THINKING:
        raise InvalidRequest(
            f"`thinking.type` is one of {', '.join(_THINKING)}", param="thinking.type"
        )
    if thinking is None or thinking.type == "disabled":
        return ThinkingForm()
    return ThinkingForm(is_shown=True, has_text=thinking.display != "omitted")


def _ignored_thinking(thinking: _Thinking | None) -> tuple[str, ...]:
    """Of what a client wants, what the model does not do: it thinks as it likes."""
    if thinking is None or thinking.type == "adaptive":
        return ()
    if thinking.type == "enabled":
        return ("thinking.budget_tokens",)
    return ("thinking",)
