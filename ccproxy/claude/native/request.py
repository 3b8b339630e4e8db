"""Translates a Messages API request for native mode. Pure.

The CLI composes the body itself, so many fields of a request cannot be sent. Such
fields are left out and reported. If the answer would be wrong without a field, the
request is refused.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from ccproxy.claude.body.models import is_same_model
from ccproxy.claude.body.reading import distinct_system_prompt
from ccproxy.claude.body.tools import described, path_of
from ccproxy.claude.body.turns import as_object
from ccproxy.claude.native.pairing import paired
from ccproxy.claude.native.prompt import (
    Block,
    DocumentBlock,
    Effort,
    ImageBlock,
    NativeQuestion,
    Prompt,
    PromptMessage,
    PromptTool,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    turns,
)
from ccproxy.claude.schemas.arguments import argument_schema
from ccproxy.core import blocks, messages
from ccproxy.core.blocks import is_blank
from ccproxy.core.errors import InvalidRequest, MissingParameter

_SAMPLING = ("temperature", "top_p", "top_k")
_ANY_OBJECT: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
_WEB_SEARCH = "web_search"
# The fields of tools and blocks that the CLI takes.
_TOOL_FIELDS = ("type", "name", "description", "input_schema")
_CALL_FIELDS = ("id", "name", "input")
_RESULT_FIELDS = ("tool_use_id", "content", "is_error")
_PART_FIELDS = ("text", "source", "title", "context")
_NOTHING = (b"null", b"false", b"[]")
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


def translate(
    request: messages.MessagesRequest,
    *,
    model: str,
    effort: Effort | None,
    thinking_of: str | None = "",
    forward_sampling: bool = False,
    web_search: bool = False,
) -> NativeQuestion:
    """Translate a request.

    Args:
        request: the client's request.
        model: the model's name for the CLI.
        effort: an effort that the model supports; None: the model's default.
        thinking_of: the full id of a model: thinking is sent only if this model or an
            unknown model has made it. None: no thinking is sent. Empty: all thinking
            is sent.
        forward_sampling: whether ``temperature``, ``top_p`` and ``top_k`` are sent.
        web_search: whether the model has Claude Code's own web search.

    Raises:
        InvalidRequest: native mode cannot send the request; ``param`` is the client's
            path.
    """
    reader = _Reader(request, thinking_of)
    for wish in request.web_searches:
        # Claude Code's own search has no settings.
        reader.notes.ignore(
            *((*wish.settings, *wish.unsent) if web_search else wish.paths)
        )
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
    if choice is not None:
        reader.name_choice(choice, has_tools=bool(tools))
    reader.name_output()
    spoken = reader.turns()
    return NativeQuestion(
        prompt=Prompt(
            model=model,
            system=reader.system(),
            messages=spoken,
            max_tokens=request.max_tokens,
            stop=tuple(s for s in request.stop_sequences if not is_blank(s)),
            blank_stops=reader.blank_stops(),
            effort=effort,
            tools=tools,
            must_call=choice is not None and choice.must_call,
            parallel_calls=not (
                tools and choice is not None and choice.disable_parallel_tool_use
            ),
            schema=_schema(request),
            sampling=sampling,
        ),
        adjusted=reader.notes.adjusted,
        ignored=reader.notes.ignored,
    )


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
        text = "\n\n".join(text for text in texts if not is_blank(text))
        distinct = distinct_system_prompt(text)
        if distinct != text:
            self.notes.adjust(self._request.paths.get("system", "system"))
        return distinct

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
                self._name_others(tool, _TOOL_FIELDS, partial(path_of, tool, at))
                yield PromptTool(value.name, description, _decode_object(schema.json))

    def name_choice(self, choice: messages.ToolChoice, *, has_tools: bool) -> None:
        """Report the fields of ``tool_choice`` that cannot be sent."""
        path = self._request.paths.get("tool_choice", "tool_choice")
        self.notes.ignore(*(f"{path}.{name}" for name in choice.extra))
        if choice.disable_parallel_tool_use is not None and not has_tools:
            self.notes.ignore(f"{path}.disable_parallel_tool_use")

    def name_output(self) -> None:
        """Report the fields of ``output_config`` that cannot be sent."""
        config = self._request.output_config
        if config is not None:
            paths = self._request.paths

            def path(name: str) -> str:
                return paths.get(f"output_config.{name}", f"output_config.{name}")

            self._name_others(config, ("effort", "format"), path)

    def _name_others(
        self,
        given: blocks.Parsed[Any],
        used: Collection[str],
        path: Callable[[str], str],
    ) -> None:
        """Report the fields of an object that are not used."""
        for name, value in given.fields.items():
            if name not in used and bytes(value) not in _NOTHING:
                self.notes.ignore(path(name))

    def blank_stops(self) -> tuple[str, ...]:
        """The stop sequences that the provider refuses.

        An answer with a required format or a required call is not cut at white space.
        """
        request = self._request
        stops = tuple(s for s in request.stop_sequences if is_blank(s))
        path = request.paths.get("stop_sequences", "stop_sequences")
        choice = request.tool_choice
        must_call = choice is not None and choice.must_call
        if stops and (must_call or request.output_format is not None):
            self.notes.ignore(path)
            return ()
        if stops:
            self.notes.adjust(path)
        return stops

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
        made = paired(turns(map(_without_loose_thinking, turns(said))), "messages")
        self._name_ids(spoken, made)
        return made

    def _name_ids(
        self, given: Sequence[messages.Message], made: Sequence[PromptMessage]
    ) -> None:
        """Report the ids of calls that were replaced."""
        sent = [b.id for m in made for b in m.content if isinstance(b, ToolUseBlock)]
        calls = (b for m in given for b in m.blocks if b.type == "tool_use")
        for call, identifier in zip(calls, sent, strict=True):
            value = call.value
            if isinstance(value, blocks.ToolUse) and value.id != identifier:
                self.notes.adjust(call.path_of("id"))

    def _blocks(self, message: messages.Message) -> Iterator[Block]:
        if message.at:
            self.notes.ignore(*(f"{message.at}.{name}" for name in message.extra))
        for n, block in enumerate(message.blocks):
            if isinstance(block.value, blocks.SearchCopy):
                self.notes.ignore(block.at)
                continue
            at = block.at or f"{message.at}.content[{n}]"
            read = self._block(block, at)
            if read is None:
                self.notes.ignore(at)
            else:
                yield read

    def _block(self, block: blocks.Block, at: str) -> Block | None:
        match block.value:
            case blocks.ToolUse(identifier, name, arguments):
                raw = bytes(arguments).lstrip()
                if not raw.startswith(b"{"):
                    self.notes.adjust(block.path_of("input"))
                    raw = bytes(as_object(raw))
                self._name_fields(block, _CALL_FIELDS)
                return ToolUseBlock(identifier, name, _decode_object(raw))
            case blocks.ToolResult() as result:
                content = blocks.result_content(result, at)
                self._name_fields(block, _RESULT_FIELDS)
                if not isinstance(content, str):
                    parts = block.inner or content
                    shown = [(b, self._part(b)) for b in parts]
                    self.notes.ignore(*(b.at for b, made in shown if made is None))
                    shown_blocks = tuple(made for _, made in shown if made is not None)
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
        return self._part(block)

    def _part(
        self, block: blocks.Block
    ) -> TextBlock | ImageBlock | DocumentBlock | None:
        """A text, an image or a document; None: the CLI takes no such block."""
        made = _shown(block)
        if made is not None:
            self._name_fields(block, _PART_FIELDS)
            if isinstance(made, DocumentBlock) and b'"content"' in block.raw:
                # The parts of a document are joined into one text.
                self.notes.adjust(block.path_of("source"))
        return made

    def _name_fields(self, block: blocks.Block, used: Collection[str]) -> None:
        if block.at:
            self._name_others(block, ("type", *used), block.path_of)

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
