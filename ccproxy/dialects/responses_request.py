"""``POST /responses``: the request, decoded to a prompt and what is echoed of it.

It is decoded in two steps, because what comes before the prompt may be kept
elsewhere: `decode_responses` says what has to be fetched, `prompt_of` puts the whole
conversation together.

Source: ``CreateResponseBody`` in the Open Responses document, ``CreateResponse`` in
OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import evolve, frozen

from ccproxy.conversation import Prompt
from ccproxy.dialects import prompting
from ccproxy.dialects.decoding import decode_json
from ccproxy.dialects.prompting import Said
from ccproxy.dialects.refusal import unsupported
from ccproxy.dialects.responses_calls import Callee
from ccproxy.dialects.responses_items import (
    SHOW_SEALS,
    Item,
    Unsealer,
    decode_items,
    has_seals,
    kept_items,
    resolve,
    said,
)
from ccproxy.dialects.responses_tools import Offer, offer
from ccproxy.dialects.sampling import sort_sampling
from ccproxy.dialects.structured import Format, echo_format, schema_of
from ccproxy.errors import InvalidRequest, MissingParameter

_FORWARDABLE = ("temperature", "top_p")
_IGNORED = (
    "presence_penalty",
    "frequency_penalty",
    "max_tool_calls",
    "context_management",
    "moderation",
)
_LOGPROBS = "message.output_text.logprobs"


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Text(msgspec.Struct):
    format: Format | None = None
    verbosity: str | None = None


class _Conversation(msgspec.Struct):
    id: str


class ResponsesRequest(msgspec.Struct):
    """The body of a request."""

    input: str | list[msgspec.Raw] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | _Conversation | None = None
    include: list[str] | None = None
    # To be ignored, or forwarded; echoed.
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    truncation: str | None = None
    context_management: object = None
    moderation: object = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # To be refused, unless they ask for nothing.
    prompt: object = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: object = None
    top_logprobs: int | None = None


_decoder = msgspec.json.Decoder(ResponsesRequest)


@frozen(kw_only=True)
class Echo:
    """What a response repeats of its request, with OpenAI's defaults.

    Attributes:
        model: the client's name for it, until it is known who answers.
        shows_encrypted: whether the client wants the sealed thinking.
        format: ``text.format``.
    """

    model: str
    store: bool
    background: bool
    previous_response_id: str | None
    conversation_id: str | None
    shows_encrypted: bool
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
    format: Mapping[str, Any]
    safety_identifier: str | None
    prompt_cache_key: str | None
    tools: tuple[Mapping[str, Any], ...]
    tool_choice: Any


@frozen(kw_only=True)
class ResponsesCall:
    """A decoded request.

    Attributes:
        items: what the request itself says.
        question: the prompt without its conversation; its ``model`` is the
            client's name for it.
        callees: the client's tools, by the names that the model has for them.
        ignored: fields that were given and have no effect.
    """

    items: tuple[Item, ...]
    question: Prompt
    callees: Mapping[str, Callee]
    instructions: str
    stream: bool
    echo: Echo
    ignored: tuple[str, ...]

    @property
    def wanted_ids(self) -> tuple[str, ...]:
        """The ids of the kept items that the request refers to."""
        found = [item.wanted_id for item in self.items]
        return tuple(dict.fromkeys(name for name in found if name is not None))


def decode_responses(
    body: bytes, *, forward_sampling: bool = False, web_search: bool = False
) -> ResponsesCall:
    """Decode the body of ``POST /responses``.

    Args:
        body: as it came.
        forward_sampling: put temperature and ``top_p`` into the prompt instead of
            ignoring them.
        web_search: whether the model can search the web.

    Raises:
        ClientError: with ``param``, the path of the offending field.
    """
    request = decode_json(_decoder, body)
    _refuse_what_cannot_be_done(request)
    sampling = sort_sampling(request, _FORWARDABLE, _IGNORED, forward=forward_sampling)
    effort = request.reasoning.effort if request.reasoning else None
    offered = offer(
        [bytes(raw) for raw in request.tools or ()],
        request.tool_choice,
        web_search=web_search,
    )
    return ResponsesCall(
        items=_items(request),
        question=Prompt(
            model=request.model or "",
            messages=(),
            max_tokens=prompting.positive(
                request.max_output_tokens, "max_output_tokens"
            ),
            effort=prompting.effort(effort, "reasoning.effort"),
            tools=offered.tools,
            must_call=offered.must_call,
            parallel_calls=(
                request.parallel_tool_calls is not False or not offered.tools
            ),
            schema=schema_of(
                request.text.format if request.text else None, "text.format"
            ),
            sampling=sampling.sent,
        ),
        callees=offered.callees,
        instructions=request.instructions or "",
        stream=request.stream or False,
        echo=_echo(request, offered),
        ignored=(
            *sampling.ignored,
            *(("truncation",) if request.truncation == "auto" else ()),
            *offered.ignored,
        ),
    )


def _items(request: ResponsesRequest) -> tuple[Item, ...]:
    if request.input is None:
        if request.previous_response_id or request.conversation:
            return ()
        raise MissingParameter("`input` is missing", param="input")
    given = request.input
    return decode_items(
        given if isinstance(given, str) else [bytes(raw) for raw in given], "input"
    )


@frozen
class Context:
    """A request's items with all that comes before them.

    Attributes:
        earlier: what was said before this request.
        own: what the request says, references resolved.
    """

    earlier: tuple[Item, ...]
    own: tuple[Item, ...]

    @property
    def has_seals(self) -> bool:
        """Whether a key is needed to read it."""
        return has_seals(self.earlier) or has_seals(self.own)


def context_of(
    call: ResponsesCall, earlier: Sequence[bytes], kept: Mapping[str, bytes]
) -> Context:
    """Put together what was fetched.

    Args:
        call: the request.
        earlier: the items of the response or conversation that it continues.
        kept: the items that it refers to, by their ids.

    Raises:
        InvalidRequest: a reference to what is not kept.
    """
    echo = call.echo
    param = "conversation" if echo.conversation_id else "previous_response_id"
    return Context(kept_items(earlier, param), resolve(call.items, kept))


def prompt_of(
    call: ResponsesCall, context: Context, unsealer: Unsealer, closing: str = ""
) -> Prompt:
    """The question to the model.

    Args:
        call: the request.
        context: its whole conversation.
        unsealer: opens what is sealed in it.
        closing: what the user says after all that.

    Raises:
        ClientError: a conversation that the model cannot be asked.
    """
    told = said((*context.earlier, *context.own), unsealer)
    if closing:
        told.append(Said("input", "user", closing))
    return evolve(
        call.question,
        system=prompting.system_prompt(told, first=call.instructions),
        messages=prompting.conversation(told, "input"),
    )


def _refuse_what_cannot_be_done(request: ResponsesRequest) -> None:
    if request.previous_response_id and request.conversation:
        raise InvalidRequest(
            "`previous_response_id` and `conversation` exclude each other; a "
            "conversation knows its responses by itself",
            param="previous_response_id",
        )
    if request.background and request.store is False:
        raise InvalidRequest(
            "`background` needs `store`: the answer has to be kept for you to fetch it",
            param="background",
        )
    if _LOGPROBS in (request.include or ()):
        unsupported("include", "the model's log probabilities are not to be had")
    if request.prompt is not None:
        unsupported("prompt", "prompt templates are OpenAI's own")
    if request.top_logprobs:
        unsupported("top_logprobs", "the model's log probabilities are not to be had")


def _echo(request: ResponsesRequest, offered: Offer) -> Echo:
    reasoning = request.reasoning or _Reasoning()
    conversation = request.conversation
    return Echo(
        model=request.model or "",
        store=request.store is not False,
        background=request.background or False,
        previous_response_id=request.previous_response_id or None,
        conversation_id=(
            conversation.id
            if isinstance(conversation, _Conversation)
            else conversation or None
        ),
        shows_encrypted=SHOW_SEALS in (request.include or ()),
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
        format=echo_format(request.text.format if request.text else None),
        tools=offered.echo,
        tool_choice=offered.choice,
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
