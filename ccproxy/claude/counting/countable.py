"""The texts of a request for the provider's counter, and an estimate of the rest. Pure.

The CLI can ask the provider to count a text as one message of the user. If a request is
one such message, the count is exact. For any other request, all its texts are joined
into one text, and these tokens are added to its count:

=====================  =============================================================
a further message      4: its role
a system prompt        4
tools                  346, or 313 if a call is required: the provider's own prompt
images and PDFs        see `ccproxy.claude.counting.media`
=====================  =============================================================

Tools and calls are counted as JSON. These are left out: encrypted thinking, tools that
the model has to search for first, and documents by URL.

Source: the provider's documents, "Token counting" and "Tool use", for Claude 4. The 4
tokens are an assumption.
"""

import msgspec
from attrs import define, field, frozen
from msgspec import UNSET

from ccproxy.claude.counting.media import image_tokens, pdf_tokens
from ccproxy.core.blocks import (
    Block,
    Document,
    Image,
    RedactedThinking,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    content_of,
    result_content,
)
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import MessagesRequest, Tool

_ROLE = 4
_TOOLS, _REQUIRED_CALL = 346, 313
_REFERENCE = "tool_reference"
# The provider's documents: "roughly 3.5 English characters" are a token. Other scripts
# have more bytes, and more tokens, for each character.
_BYTES_PER_TOKEN = 3.5


@frozen(kw_only=True)
class Countable:
    """What is counted.

    Attributes:
        text: the text for the provider's counter; may be empty.
        extra: the tokens that are added to its count.
        is_whole: whether the request is ``text`` and nothing else.
    """

    text: str
    extra: int
    is_whole: bool

    @property
    def estimate(self) -> int:
        """The count without the provider's counter."""
        size_bytes = len(self.text.encode("utf-8", "replace"))
        return round(size_bytes / _BYTES_PER_TOKEN) + _ROLE + self.extra


class _Source(msgspec.Struct):
    type: str = ""
    data: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Reference(msgspec.Struct):
    tool_name: str = ""


def countable(request: MessagesRequest) -> Countable:
    """Collect the texts of a request.

    Raises:
        InvalidRequest: a block is invalid.
    """
    text = _only_text(request)
    if text is not None:
        return Countable(text=text, extra=0, is_whole=True)
    found = _Found()
    if request.system:
        found.extra += _ROLE
        found.texts.append(request.system)
    found.extra += _ROLE * max(0, len(request.messages) - 1)
    for message in request.messages:
        found.add_content(message.content)
    tools = [t for t in request.tools if _is_shown(t, found.references)]
    if tools:
        choice = request.tool_choice
        is_required = choice is not None and choice.must_call
        found.extra += _REQUIRED_CALL if is_required else _TOOLS
        found.texts += map(_definition, tools)
    schema = request.output_schema
    if schema is not None:
        found.texts.append(schema.decode())
    return Countable(
        text="\n".join(filter(None, found.texts)), extra=found.extra, is_whole=False
    )


def _only_text(request: MessagesRequest) -> str | None:
    """The text if the request is a single message with one text; otherwise None."""
    is_plain = not (request.system or request.tools or request.output_schema)
    if not is_plain or request.thinking is not None or len(request.messages) != 1:
        return None
    [message] = request.messages
    blocks = message.blocks
    if message.role != "user" or len(blocks) != 1:
        return None
    value = blocks[0].value
    return value.text if isinstance(value, Text) else None


def _is_shown(tool: Tool, references: set[str]) -> bool:
    return not tool.value.defer_loading or tool.value.name in references


def _definition(tool: Tool) -> str:
    raw = tool.raw
    if tool.value.cache_control is not UNSET or tool.value.defer_loading is not None:
        raw = tool.replaced(cache_control=UNSET, defer_loading=UNSET).raw
    return raw.decode()


@define
class _Found:
    """The texts of a request.

    Attributes:
        references: the names of the tools that the model has found by tool search.
    """

    texts: list[str] = field(factory=list)
    extra: int = 0
    references: set[str] = field(factory=set)

    def add_content(self, content: str | tuple[Block, ...]) -> None:
        if isinstance(content, str):
            self.texts.append(content)
            return
        for block in content:
            try:
                self._add(block)
            except msgspec.ValidationError as error:
                at = block.at or "messages"
                raise InvalidRequest(f"`{at}`: {error}", param=at) from None

    def _add(self, block: Block) -> None:
        match block.value:
            case Text(text=text) | Thinking(thinking=text):
                self.texts.append(text)
            case Image(source=source):
                self.extra += image_tokens(source)
            case Document(source=source):
                self._add_document(source)
            case ToolUse(name=name, input=arguments):
                self.texts += (name, bytes(arguments).decode())
            case ToolResult():
                self.add_content(result_content(block.value))
            case RedactedThinking():
                pass
            case _ if block.type == _REFERENCE:
                name = msgspec.json.decode(block.raw, type=_Reference).tool_name
                self.references.add(name)
            case _:
                self.texts.append(block.raw.decode())

    def _add_document(self, raw: msgspec.Raw) -> None:
        source = msgspec.json.decode(raw, type=_Source)
        if source.type == "text":
            self.texts.append(source.data)
        elif source.type == "content":
            self.add_content(content_of(source.content))
        else:
            self.extra += pdf_tokens(raw)
