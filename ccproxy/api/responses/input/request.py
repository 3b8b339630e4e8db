"""Decodes ``POST /responses`` to a request of the Messages API. Pure.

The conversation can be in the store. The result has the ids of the stored items that
are needed. `ccproxy.api.responses.input.assembly` builds the whole request.

Source: ``CreateResponseBody`` in the Open Responses document, ``CreateResponse`` in
OpenAI's.
"""

from collections.abc import Mapping

from attrs import frozen

from ccproxy.api.common import prompt as prompting
from ccproxy.api.common.alternatives import all_given, first_given
from ccproxy.api.common.decoding import DecodedRequest, required, sampling_fields
from ccproxy.api.common.fates import decode_request
from ccproxy.api.common.metadata import checked_metadata
from ccproxy.api.common.output_schema import (
    ResponseFormat,
    echo_format,
    output_config,
    output_paths,
)
from ccproxy.api.common.prompt_cache import cache_wish
from ccproxy.api.common.tools import ToolTable
from ccproxy.api.responses.input.echo import Echo
from ccproxy.api.responses.input.fields import (
    ConversationParam,
    ReasoningParam,
    ResponsesRequest,
    TextParam,
)
from ccproxy.api.responses.input.items import (
    INCLUDE_ENCRYPTED,
    INCLUDE_SOURCES,
    DecodedItem,
    additional_tools,
    check_number,
    decode_items,
)
from ccproxy.api.responses.input.tools import DecodedTools, decode_tools
from ccproxy.core.encoding import encode_json, exact_decoder
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Adjustments, MessagesRequest

_SAMPLING = ("temperature", "top_p")
# The fields that limit the answer's tokens; the first field that is given counts.
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")

_decoder = exact_decoder(ResponsesRequest)


@frozen(kw_only=True)
class DecodedResponsesRequest(DecodedRequest):
    """A decoded request. Its ``request`` has no messages: `request_of` adds them.

    Attributes:
        items: the items in the request.
        tools: the names of the client's tools.
        instructions: the beginning of the system prompt.
        echo: the fields that the response repeats.
    """

    items: tuple[DecodedItem, ...]
    tools: ToolTable
    instructions: str
    echo: Echo

    @property
    def referenced_ids(self) -> tuple[str, ...]:
        """The ids of the stored items that the request refers to."""
        found = [item.referenced_id for item in self.items]
        return tuple(dict.fromkeys(name for name in found if name is not None))

    def referenced_bytes(self, kept: Mapping[str, bytes]) -> int:
        """Sum the bytes of the referenced items; an item counts for each reference."""
        return sum(
            len(kept.get(item.referenced_id, b""))
            for item in self.items
            if item.referenced_id is not None
        )


def decode_responses(body: bytes) -> DecodedResponsesRequest:
    """Decode the body of ``POST /responses``.

    Args:
        body: the body, as it was sent.

    Raises:
        ClientError: the request is invalid; ``param`` is the path of the invalid field,
            if the error is about a field.
    """
    request, adjustments = decode_request(_decoder, body)
    _reject_unsupported(request)
    sampling = sampling_fields(request, _SAMPLING)
    if request.truncation == "auto":
        adjustments.ignore("truncation")
    for index, wanted in enumerate(request.include or ()):
        if wanted not in (INCLUDE_ENCRYPTED, INCLUDE_SOURCES):
            adjustments.ignore(f"include[{index}]")
    items, items_param = _items(request, adjustments)
    offered = decode_tools(
        [bytes(raw) for raw in request.tools or ()],
        request.tool_choice,
        adjustments,
        additional=additional_tools(items),
        one_call=request.parallel_tool_calls is False,
        max_tool_calls=request.max_tool_calls,
    )
    cache = cache_wish(
        request.prompt_cache_options, request.prompt_cache_retention, adjustments
    )
    own_effort = request.reasoning.effort if request.reasoning else None
    effort, effort_param = first_given(
        {"reasoning.effort": own_effort, "reasoning_effort": request.reasoning_effort},
        adjustments,
    )
    own_form = request.text.format if request.text else None
    form, form_param = first_given(
        {"text.format": own_form, "response_format": request.response_format},
        adjustments,
    )
    limit, limit_param = first_given(
        {name: getattr(request, name) for name in _LIMITS}, adjustments
    )
    return DecodedResponsesRequest(
        items=items,
        request=MessagesRequest(
            size_bytes=len(body),
            messages=(),
            model=request.model or "",
            max_tokens=prompting.positive(limit, limit_param),
            stop_sequences=prompting.stops(
                all_given({"stop": request.stop}), adjustments
            ),
            tools=offered.tools,
            tool_choice=offered.choice,
            output_config=output_config(
                form,
                form_param,
                adjustments,
                prompting.effort(effort, effort_param, adjustments),
            ),
            extra=sampling,
            web_searches=adjustments.web_searches,
            continues_pauses=True,
            may_be_kept=request.store is not False,
            cache=cache,
            paths={
                "messages": items_param,
                "max_tokens": limit_param,
                "stop_sequences": "stop",
                "system": "instructions"
                if request.instructions
                else f"{items_param}[0].content",
                **output_paths(form, form_param, effort_param),
            },
        ),
        tools=offered.table,
        instructions=request.instructions or "",
        stream=request.stream or False,
        echo=_echo(request, offered, form, limit, effort),
        ignored=adjustments.ignored,
        adjusted=adjustments.adjusted,
    )


def _items(
    request: ResponsesRequest, adjustments: Adjustments
) -> tuple[tuple[DecodedItem, ...], str]:
    """The items, and the name of the field with the items."""
    param = "input"
    given = request.input
    if given is None and request.messages is not None:
        given, param = request.messages, "messages"
    elif request.messages is not None:
        adjustments.ignore("messages")
    if isinstance(given, str):
        return decode_items(given, param), param
    if given is None and (request.previous_response_id or request.conversation):
        return (), param
    items = required(given, param)
    check_number(len(items), param)
    return decode_items([bytes(raw) for raw in items], param), param


def _reject_unsupported(request: ResponsesRequest) -> None:
    if request.previous_response_id and request.conversation:
        raise InvalidRequest(
            "`previous_response_id` and `conversation` exclude each other; a "
            "conversation already contains its responses",
            param="previous_response_id",
        )
    if request.background and request.store is False:
        raise InvalidRequest(
            "`background` needs `store`, because only a stored answer can be fetched",
            param="background",
        )


def _echo(
    request: ResponsesRequest,
    offered: DecodedTools,
    form: ResponseFormat | None,
    limit: int | None,
    effort: str | None,
) -> Echo:
    reasoning = request.reasoning or ReasoningParam()
    conversation = request.conversation
    return Echo(
        model=request.model or "",
        effort=effort,
        summary=reasoning.summary,
        store=request.store is not False,
        background=request.background or False,
        previous_response_id=request.previous_response_id or None,
        conversation_id=(
            conversation.id
            if isinstance(conversation, ConversationParam)
            else conversation or None
        ),
        shows_encrypted=INCLUDE_ENCRYPTED in (request.include or ()),
        shows_sources=INCLUDE_SOURCES in (request.include or ()),
        json=_echo_json(request, offered, form, limit),
    )


def _echo_json(
    request: ResponsesRequest,
    offered: DecodedTools,
    form: ResponseFormat | None,
    limit: int | None,
) -> bytes:
    text = request.text or TextParam()
    about = {} if text.verbosity is None else {"verbosity": text.verbosity}
    fields = {
        "instructions": request.instructions,
        "tools": offered.echo,
        "tool_choice": offered.echo_choice,
        "truncation": request.truncation or "disabled",
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "text": {"format": echo_format(form), **about},
        "top_p": _or(request.top_p, 1.0),
        "presence_penalty": _or(request.presence_penalty, 0.0),
        "frequency_penalty": _or(request.frequency_penalty, 0.0),
        "top_logprobs": 0,
        "temperature": _or(request.temperature, 1.0),
        "max_output_tokens": limit,
        "max_tool_calls": request.max_tool_calls,
        "service_tier": "default",
        "metadata": checked_metadata(request.metadata),
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.prompt_cache_key,
    }
    return encode_json(fields)[1:-1]


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
