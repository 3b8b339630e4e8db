"""Translates a Messages API request for native mode. Pure.

The CLI composes the body itself, so many fields of a request cannot be sent. Such
fields are left out and reported. If the answer would be wrong without a field, the
request is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.claude.body.models import is_same_model
from ccproxy.claude.body.tools import described, path_of
from ccproxy.claude.native.pairing import paired
from ccproxy.claude.native.prompt import (
    Block,
    DocumentBlock,
    Effort,
    ImageBlock,
    Prompt,
    PromptMessage,
    PromptTool,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    is_blank,
    turns,
)
from ccproxy.claude.schemas.arguments import argument_schema
from ccproxy.core import blocks, messages
from ccproxy.core.errors import InvalidRequest, MissingParameter

_SAMPLING = ("temperature", "top_p", "top_k")
_ANY_OBJECT: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
_WEB_SEARCH = "web_search"
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class _Source(msgspec.Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")


class _DocumentFields(msgspec.Struct):
    source: _Source
    title: str | None = None
    context: str | None = None


@frozen
class TranslatedRequest:
    """A request in the form in which the CLI gets it.

    Attributes:
        prompt: the request.
        adjusted: the client's paths of fields that are sent in another form or place.
        ignored: the client's paths of fields that are left out.
    """

    prompt: Prompt
    adjusted: tuple[str, ...]
    ignored: tuple[str, ...]


def translate(
    request: messages.MessagesRequest,
    *,
    model: str,
    effort: Effort | None,
    thinking_of: str | None = "",
    forward_sampling: bool = False,
    web_search: bool = False,
) -> TranslatedRequest:
    """Translate a request.

    Args:
        request: the client's request.
        model: the model's name for the CLI.
        effort: an effort that the model supports; None: the model's default.
        thinking_of: the full id of a model: only its earlier thinking is sent, and
            thinking of unknown models. None: no thinking is sent. Empty: all thinking
            is sent.
        forward_sampling: whether ``temperature``, ``top_p`` and ``top_k`` are sent.
        web_search: whether the model has Claude Code's own web search.

    Raises:
        InvalidRequest: native mode cannot send the request; ``param`` is the client's
            path.
    """
    reader = _Reader(request, thinking_of)
    if not web_search:
        reader.notes.ignore(*request.web_search_paths)
    reader.notes.ignore(*request.cache.paths)
    tools = tuple(reader.tools(web_search=web_search))
    choice = request.tool_choice
    if choice is not None and choice.type == "none":
        tools = ()
    elif choice is not None and choice.type == "tool":
        tools = tuple(tool for tool in tools if tool.name == choice.name)
    if choice is not None and choice.must_call and not tools:
        raise InvalidRequest(
            "`tool_choice` requires a call of a tool that is not in `tools`",
            param="tool_choice",
        )
    sampling = reader.extra(forward_sampling=forward_sampling)
    thinking = request.thinking
    if thinking is not None and thinking.value.type != "adaptive":
        reader.notes.ignore("thinking")
    spoken = reader.turns()
    return TranslatedRequest(
        Prompt(
            model=model,
            system=reader.system(),
            messages=spoken,
            max_tokens=request.max_tokens,
            stop=_stops(request),
            effort=effort,
            tools=tools,
            must_call=choice is not None and choice.must_call,
            parallel_calls=not (
                tools and choice is not None and choice.disable_parallel_tool_use
            ),
            schema=_schema(request),
            sampling=sampling,
        ),
        reader.notes.adjusted,
        reader.notes.ignored,
    )


def _stops(request: messages.MessagesRequest) -> tuple[str, ...]:
    param = request.paths.get("stop_sequences", "stop_sequences")
    if any(map(is_blank, request.stop_sequences)):
        raise InvalidRequest(
            f"`{param}`: the model cannot stop at white space alone", param=param
        )
    return request.stop_sequences


def _schema(request: messages.MessagesRequest) -> Mapping[str, Any] | None:
    form = request.output_format
    if form is None:
        return None
    if form.type == "json_object" or isinstance(form.schema, msgspec.UnsetType):
        return _ANY_OBJECT
    schema = _decode_object(form.schema)
    if schema.get("type", "object") != "object":
        param = request.paths.get("output_config.format", "output_config.format")
        raise InvalidRequest(
            f"`{param}`: the schema must have the type object", param=param
        )
    return {"type": "object", **schema}


class _Reader:
    """Reads one request, and notes fields that cannot be sent."""

    def __init__(
        self, request: messages.MessagesRequest, thinking_of: str | None
    ) -> None:
        self._request = request
        self._thinking_of = thinking_of
        self.notes = messages.Adjustments()

    def system(self) -> str:
        texts = [self._request.system]
        for n, message in enumerate(self._request.messages):
            if message.role == "system":
                self.notes.adjust(message.at or f"messages[{n}]")
                read = [b.value for b in message.blocks]
                said = [v.text for v in read if isinstance(v, blocks.Text)]
                texts.append("".join(said))
        return "\n\n".join(text for text in texts if not is_blank(text))

    def tools(self, *, web_search: bool) -> Iterator[PromptTool]:
        for n, tool in enumerate(self._request.tools):
            value, at = tool.value, tool.at or f"tools[{n}]"
            if value.type.startswith(_WEB_SEARCH):
                if not web_search:
                    self.notes.ignore(at)
            elif value.type != "custom":
                self.notes.ignore(at)
            elif isinstance(value.input_schema, msgspec.UnsetType):
                param = f"{at}.input_schema"
                raise MissingParameter(f"`{param}` is missing", param=param)
            else:
                path = path_of(tool, at, "input_schema")
                schema = argument_schema(value.input_schema, path, is_checked=True)
                description = value.description
                if schema.is_changed:
                    self.notes.adjust(path)
                if schema.is_merged:
                    description = described(description, bytes(value.input_schema))
                yield PromptTool(value.name, description, _decode_object(schema.json))

    def extra(self, *, forward_sampling: bool) -> Mapping[str, float]:
        sampling: dict[str, float] = {}
        for name, raw in self._request.extra.items():
            if name in _SAMPLING and forward_sampling:
                sampling[name] = msgspec.json.decode(raw, type=float)
            else:
                self.notes.ignore(self._request.paths.get(name, name))
        return sampling

    def turns(self) -> tuple[PromptMessage, ...]:
        spoken = [m for m in self._request.messages if m.role != "system"]
        if not spoken:
            raise InvalidRequest(
                "there is no message of the user to answer", param="messages"
            )
        last = spoken[-1].at or "messages"
        said = [PromptMessage(Role(m.role), tuple(self._blocks(m))) for m in spoken]
        if said[-1].role is Role.ASSISTANT:
            raise InvalidRequest(
                f"`{last}`: the conversation ends with the assistant; end it with a "
                "message of the user",
                param=f"{last}.role",
            )
        if not turns(said[-1:]):
            raise InvalidRequest(
                f"`{last}`: the last message is blank; add text to it",
                param=f"{last}.content",
            )
        return paired(turns(map(_without_loose_thinking, turns(said))), "messages")

    def _blocks(self, message: messages.Message) -> Iterator[Block]:
        for n, block in enumerate(message.blocks):
            at = block.at or f"{message.at}.content[{n}]"
            read = self._block(block, at)
            if read is None:
                self.notes.ignore(at)
            else:
                yield read

    def _block(self, block: blocks.Block, at: str) -> Block | None:
        match block.value:
            case blocks.ToolUse(identifier, name, arguments):
                return ToolUseBlock(identifier, name, _arguments(arguments, at))
            case blocks.ToolResult() as result:
                content = blocks.result_content(result, at)
                if not isinstance(content, str):
                    shown = [_shown(b) for b in content]
                    shown_blocks = tuple(b for b in shown if b is not None)
                    return ToolResultBlock(
                        result.tool_use_id, shown_blocks, bool(result.is_error)
                    )
                return ToolResultBlock(
                    result.tool_use_id, content, bool(result.is_error)
                )
            case blocks.Thinking(thinking, signature):
                model = self._request.thinking_models.get(signature, "")
                made = ThinkingBlock(thinking, signature, model)
                return made if signature and self._is_sent(model) else None
            case blocks.RedactedThinking(data):
                model = self._request.thinking_models.get(data, "")
                redacted = RedactedThinkingBlock(data, model)
                return redacted if self._is_sent(model) else None
        return _shown(block)

    def _is_sent(self, thinker: str) -> bool:
        """Whether the thinking of a model is sent."""
        of = self._thinking_of
        if of is None or not of or not thinker:
            return of is not None
        return is_same_model(of, thinker)


def _shown(
    block: blocks.Block,
) -> TextBlock | ImageBlock | DocumentBlock | None:
    match block.value:
        case blocks.Text(text):
            return TextBlock(text)
        case blocks.Image(source):
            return _image(msgspec.json.decode(source, type=_Source))
        case blocks.Document():
            return _document(msgspec.json.decode(block.raw, type=_DocumentFields))
    return None


def _arguments(raw: msgspec.Raw, at: str) -> Mapping[str, Any]:
    try:
        return _decode_object(raw)
    except msgspec.DecodeError:
        raise InvalidRequest(
            f"`{at}.input` is not a JSON object", param=f"{at}.input"
        ) from None


def _image(source: _Source) -> ImageBlock | None:
    if source.type == "base64" and source.data is not None:
        return ImageBlock(source.media_type, source.data)
    return ImageBlock(None, source.url) if source.url is not None else None


def _document(fields: _DocumentFields) -> DocumentBlock | None:
    source, about = fields.source, (fields.title, fields.context)
    match source.type:
        case "base64" if source.data is not None:
            return DocumentBlock(source.media_type, source.data, *about)
        case "text" if source.data is not None:
            return DocumentBlock("text/plain", source.data, *about)
        case "url" if source.url is not None:
            return DocumentBlock(None, source.url, *about)
        case "content":
            read = blocks.content_of(source.content)
            if isinstance(read, str):
                return DocumentBlock("text/plain", read, *about)
            texts = [b.value.text for b in read if isinstance(b.value, blocks.Text)]
            return DocumentBlock("text/plain", "\n\n".join(texts), *about)
    return None


def _without_loose_thinking(message: PromptMessage) -> PromptMessage:
    """The turn without thinking at its end, because the API would refuse it."""
    content = list(message.content)
    while content and isinstance(content[-1], ThinkingBlock | RedactedThinkingBlock):
        content.pop()
    return PromptMessage(message.role, tuple(content))
