"""Decodes ``POST /messages``: a request of the Messages API. Pure.

Most of a request is sent to the provider unchanged. The proxy decodes only the fields
that it needs. The provider reports errors in all other fields.

=============================  ======================================================
`CLI_FIELDS`                   ignored: the CLI sets them itself
``thread``                     refused, with the error that Anthropic's SDKs expect
`_REFUSED`                     refused
``system``                     the blocks are joined to one text, with empty lines
                               between them; the path is reported. The blocks'
                               breakpoints are ignored
``output_format``              becomes ``output_config.format``, its newer name
thinking without signature     ignored: the provider cannot verify it
any other field                sent unchanged
=============================  ======================================================

Source: ``MessageCreateParams`` of anthropic-python 2.14, stable and beta, and
the behaviour of that client.
"""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from attrs import evolve, frozen
from msgspec import Raw, UnsetType

from ccproxy.api.common.content import is_foreign_thinking
from ccproxy.api.common.decoding import (
    DecodedRequest,
    decode_fields,
    decode_json,
    is_null,
    located,
    read_body,
    required,
)
from ccproxy.api.common.media import corrected
from ccproxy.api.common.prompt import stops
from ccproxy.api.common.repair import repaired
from ccproxy.api.messages import schemas as structs
from ccproxy.api.messages.stream import ThinkingForm
from ccproxy.core.blocks import Block, Parsed, Text, is_blank
from ccproxy.core.encoding import exact_decoder
from ccproxy.core.errors import (
    InvalidRequest,
    MissingParameter,
    ThreadsUnsupported,
    unsupported,
)
from ccproxy.core.messages import (
    CLI_FIELDS,
    Adjustments,
    Message,
    MessagesRequest,
    OutputConfig,
    OutputValue,
    ThinkingConfig,
    ThinkingValue,
    Tool,
    ToolChoice,
)

# The header with the client's betas, and the name of the field that `with_betas` adds.
BETA_HEADER = "anthropic-beta"
# Fields without which the answer would mean something else, and why they are refused.
_REFUSED = {
    "container": "the proxy supports no containers",
    "mcp_servers": "the proxy supports no MCP servers; run their tools in your client",
    "compaction": "the proxy does not compact conversations; send a shorter one",
    # After this error, Claude Code in auto mode makes the check itself.
    # Source: `GET /protocol` of `claude gateway`, "Messages".
    "safeguards": "the proxy cannot ask the provider for a safety check",
    "inference_geo": "the proxy cannot choose where the model runs",
}
_CHOICE_FIELDS = structs.ToolChoiceParam.__struct_fields__
_ROLES = ("user", "assistant", "system")
# The beginning of a block with Claude Code's version. The proxy's CLI adds its own.
_ATTRIBUTION = "x-anthropic-billing-header"

_CUSTOM = "custom"
# Fields of blocks that some clients set to null.
_NULLABLE = ("id", "tool_use_id", "signature", "data")
# The CLI sends the effort. It would replace an unknown effort by its default.
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_EFFORT = "output_config.effort"

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_decode = exact_decoder(object).decode
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
_list_decoder = msgspec.json.Decoder(list[Raw])
_content_decoder = msgspec.json.Decoder(str | list[Raw])
_text_decoder = msgspec.json.Decoder(str)
_flag_decoder = msgspec.json.Decoder(bool)
_count_decoder = msgspec.json.Decoder(int)
_texts_decoder = msgspec.json.Decoder(list[str])
_message_decoder = msgspec.json.Decoder(structs.MessageParam)
_tool_decoder = msgspec.json.Decoder(structs.ToolParam)
_choice_decoder = msgspec.json.Decoder(structs.ToolChoiceParam)
_output_decoder = msgspec.json.Decoder(structs.OutputParam)
_format_decoder = msgspec.json.Decoder(structs.OutputFormatParam)


@frozen(kw_only=True)
class DecodedMessagesRequest(DecodedRequest):
    """A decoded request.

    Attributes:
        thinking: which parts of the thinking the client receives.
    """

    thinking: ThinkingForm


def decode_messages(body: bytes, *, repairs: bool = False) -> DecodedMessagesRequest:
    """Decode the body of ``POST /messages``.

    Args:
        body: the body, as it was sent.
        repairs: whether calls and results that do not match are repaired.

    Raises:
        ClientError: the request is invalid; ``param`` is the path of the invalid field,
            if the error is about a field.
    """
    adjustments = Adjustments()
    body, mended = read_body(body)
    adjustments.adjust(*mended)
    fields = _Fields(decode_fields(body))
    _reject_unsupported(fields)
    not_sent = (BETA_HEADER, *CLI_FIELDS)
    adjustments.ignore(*(name for name in not_sent if fields.take(name) is not None))
    system = _system(fields.read("system", _content_decoder), adjustments)
    messages = _messages(fields.read("messages", _list_decoder), adjustments)
    if repairs:
        messages = repaired(messages, adjustments)
    ends = fields.read("stop_sequences", _texts_decoder)
    stream = fields.read("stream", _flag_decoder) or False
    thinking = _thinking(fields)
    form = _thinking_form(thinking)
    request = MessagesRequest(
        size_bytes=len(body),
        messages=messages,
        model=fields.read("model", _text_decoder) or "",
        system=system,
        max_tokens=_max_tokens(fields.read("max_tokens", _count_decoder)),
        stop_sequences=_stops(ends or (), adjustments),
        tools=_tools(fields.read("tools", _list_decoder)),
        tool_choice=_tool_choice(fields.take("tool_choice"), adjustments),
        thinking=thinking,
        output_config=_output_config(fields, adjustments),
        shows_thinking=form.is_shown,
        default_thinking="api",
        extra=fields.rest,
    )
    return DecodedMessagesRequest(
        request=request,
        stream=stream,
        thinking=form,
        ignored=adjustments.ignored,
        adjusted=adjustments.adjusted,
    )


def with_betas(request: MessagesRequest, headers: Sequence[str]) -> MessagesRequest:
    """Add the betas of the request's header as the field ``anthropic-beta``.

    The CLI sends a fixed list of betas. `ccproxy.claude.body.options` reports all other
    betas as ignored.

    Args:
        request: the decoded request.
        headers: the values of the header, each with names separated by commas.
    """
    betas = [name.strip() for line in headers for name in line.split(",")]
    if not any(betas):
        return request
    named = Raw(_encode([name for name in betas if name]))
    return evolve(request, extra={**request.extra, BETA_HEADER: named})


class _Fields:
    """The top-level fields that are not decoded yet."""

    def __init__(self, fields: dict[str, Raw]) -> None:
        self.rest = fields

    def take(self, name: str) -> Raw | None:
        """Remove a field; returns its JSON; None: the field is absent or null."""
        return self.rest.pop(name, None)

    def read(self, name: str, decoder: msgspec.json.Decoder[_T]) -> _T | None:
        """Remove and decode a field; None: the field is absent or null.

        Raises:
            ClientError: the value has another type.
        """
        raw = self.take(name)
        return None if raw is None else decode_json(decoder, bytes(raw), at=name)


def _reject_unsupported(fields: _Fields) -> None:
    if fields.take("thread") is not None:
        raise ThreadsUnsupported(
            "`thread` is not supported: the proxy stores no conversation for the "
            "Messages API; send all messages, without `thread`",
            param="thread",
        )
    for name, why in _REFUSED.items():
        raw = fields.take(name)
        if raw is not None and _decode(raw) != []:
            unsupported(name, why)


def _stops(given: Sequence[str], adjustments: Adjustments) -> tuple[str, ...]:
    """The stop sequences, without empty sequences, which would end every answer."""
    return stops(
        {f"stop_sequences[{n}]": text for n, text in enumerate(given)}, adjustments
    )


def _system(content: str | Sequence[Raw] | None, adjustments: Adjustments) -> str:
    """Join the system prompt; notes what is left out of its blocks."""
    if not content:
        return ""
    if isinstance(content, str):
        if is_blank(content):
            adjustments.ignore("system")
            return ""
        return content
    texts: list[str] = []
    for index, raw in enumerate(content):
        at = f"system[{index}]"
        with located(at):
            block = Block.decode(raw, at)
        if not isinstance(block.value, Text):
            raise InvalidRequest(f"`{at}` may only be text", param=f"{at}.type")
        text = block.value.text
        if text.startswith(_ATTRIBUTION) or is_blank(text):
            adjustments.ignore(at)
            continue
        texts.append(text)
        adjustments.ignore(
            *(
                f"{at}.{name}"
                for name, value in block.fields.items()
                if name not in ("type", "text") and bytes(value) not in (b"null", b"[]")
            )
        )
    if len(texts) > 1:
        adjustments.adjust("system")
    return "\n\n".join(texts)


def _messages(
    given: Sequence[Raw] | None, adjustments: Adjustments
) -> tuple[Message, ...]:
    """Decode the messages; notes thinking that is left out of them."""
    given = required(given, "messages")
    if not given:
        raise InvalidRequest("`messages` is empty", param="messages")
    messages: list[Message] = []
    for index, raw in enumerate(given):
        message = _message(raw, f"messages[{index}]", adjustments)
        lost = [block.at for block in message.blocks if is_foreign_thinking(block)]
        if lost:
            adjustments.ignore(*lost)
            kept = tuple(b for b in message.blocks if not is_foreign_thinking(b))
            message = evolve(message, content=kept)
        if message.content or not lost:
            messages.append(message)
    return tuple(messages)


def _message(raw: Raw, at: str, adjustments: Adjustments) -> Message:
    read = decode_json(_message_decoder, bytes(raw), at=at)
    if read.role not in _ROLES:
        raise InvalidRequest(
            f"`{at}.role`: {read.role!r} is not a role; the roles are user, assistant "
            "and system",
            param=f"{at}.role",
        )
    fields = _decode_shallow(raw)
    extra = {name: fields[name] for name in fields if name not in ("role", "content")}
    content = read.content
    if isinstance(content, UnsetType):
        if read.role != "system":
            raise MissingParameter(f"`{at}.content` is missing", param=f"{at}.content")
        content = []
    if isinstance(content, str):
        return Message(read.role, content, at, extra)
    blocks: list[Block] = []
    for index, part in enumerate(content):
        path = f"{at}.content[{index}]"
        with located(path):
            blocks.append(corrected(_block(part, path), adjustments))
    return Message(read.role, tuple(blocks), at, extra)


def _block(raw: Raw, at: str) -> Block:
    """Decode a block. An id or a signature that is null becomes an empty string."""
    try:
        return Block.decode(raw, at)
    except msgspec.ValidationError:
        fields = _decode_shallow(raw)
        nulls = [name for name in _NULLABLE if name in fields and is_null(fields[name])]
        if not nulls:
            raise
        return Block.decode(_encode({**fields, **dict.fromkeys(nulls, "")}), at)


def _max_tokens(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise InvalidRequest("`max_tokens` must be at least 1", param="max_tokens")
    return value


def _tools(given: Sequence[Raw] | None) -> tuple[Tool, ...]:
    return tuple(_tool(raw, f"tools[{n}]") for n, raw in enumerate(given or ()))


def _tool(raw: Raw, at: str) -> Tool:
    read = decode_json(_tool_decoder, bytes(raw), at=at)
    if read.type in (None, _CUSTOM):
        for name in ("name", "input_schema"):
            required(getattr(read, name), f"{at}.{name}")
    if read.type is None:
        # Null means the same as absent.
        fields = _decode_shallow(raw)
        raw = Raw(_encode({k: v for k, v in fields.items() if k != "type"}))
    with located(at):
        return Tool.decode(raw, at)


def _tool_choice(raw: Raw | None, adjustments: Adjustments) -> ToolChoice | None:
    if raw is None:
        return None
    given = decode_json(_choice_decoder, bytes(raw), at="tool_choice")
    if given.type == "tool":
        required(given.name, "tool_choice.name")
    one_call = given.disable_parallel_tool_use
    if given.type == "none" and one_call is not None:
        # The API refuses the field with this type (rule 30 of
        # docs/messages-api-rules.md).
        adjustments.ignore("tool_choice.disable_parallel_tool_use")
    fields = _decode_shallow(raw)
    known = [n for n in _CHOICE_FIELDS if n != "name" or given.type == "tool"]
    extra = {name: fields[name] for name in fields if name not in known}
    return ToolChoice(given.type, given.name, one_call, extra)


def _thinking(fields: _Fields) -> ThinkingConfig | None:
    raw = fields.take("thinking")
    if raw is None:
        return None
    with located("thinking"):
        value = msgspec.json.decode(raw, type=ThinkingValue)
    return Parsed(value, bytes(raw), "thinking")


def _thinking_form(thinking: ThinkingConfig | None) -> ThinkingForm:
    if thinking is None or thinking.value.type == "disabled":
        return ThinkingForm()
    return ThinkingForm(is_shown=True, has_text=thinking.value.display != "omitted")


def _output_config(fields: _Fields, adjustments: Adjustments) -> OutputConfig | None:
    """Decode ``output_config``, and the format in the older ``output_format``."""
    raw, beside = fields.take("output_config"), fields.take("output_format")
    if beside is not None:
        decode_json(_format_decoder, bytes(beside), at="output_format")
    if raw is None:
        if beside is None:
            return None
        raw = Raw(b"{}")
    read = decode_json(_output_decoder, bytes(raw), at="output_config")
    if read.effort is not None and read.effort not in _EFFORTS:
        raise InvalidRequest(
            f"`{_EFFORT}`: {read.effort!r} is none of {', '.join(_EFFORTS)}",
            param=_EFFORT,
        )
    with located("output_config"):
        value = msgspec.json.decode(raw, type=OutputValue)
    config = Parsed(value, bytes(raw), "output_config")
    if beside is None:
        return config
    if read.format is not None:
        adjustments.ignore("output_format")
        return config
    return config.replaced(format=beside)
