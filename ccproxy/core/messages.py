"""The Messages API's request, the inner language: blocks, turns, tools, settings.

What the proxy has to understand is read into a struct; everything keeps its JSON as it
came. So a field, or a type of block, that the API adds tomorrow goes through untouched.

Every part may say where it stands in the client's own request (``at``), for error
messages: ``messages[3].content[0]``, ``tools[2].function``. A dialect that translates
sets it; an empty one means that nobody knows.

Source: ``MessageCreateParams`` of anthropic-python 2.14, stable and beta.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

import msgspec
from attrs import evolve, field, frozen
from msgspec import UNSET, Raw, UnsetType

_encode = msgspec.json.Encoder().encode
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode

Role: TypeAlias = str


class Text(msgspec.Struct, frozen=True):
    """``text``: what is said."""

    text: str
    cache_control: Raw | UnsetType = UNSET


class Image(msgspec.Struct, frozen=True):
    """``image``; ``source`` is base64, a URL or a file."""

    source: Raw
    cache_control: Raw | UnsetType = UNSET


class Document(msgspec.Struct, frozen=True):
    """``document``; ``source`` is base64, text, a URL, blocks or a file."""

    source: Raw
    cache_control: Raw | UnsetType = UNSET


class ToolUse(msgspec.Struct, frozen=True):
    """``tool_use``: a call of a tool of the client's; ``input`` is its JSON."""

    id: str
    name: str
    input: Raw = Raw(b"{}")
    cache_control: Raw | UnsetType = UNSET


class ToolResult(msgspec.Struct, frozen=True):
    """``tool_result``; ``content`` is a JSON string, or a list of blocks."""

    tool_use_id: str
    content: Raw | UnsetType = UNSET
    is_error: bool | None = None
    cache_control: Raw | UnsetType = UNSET


class Thinking(msgspec.Struct, frozen=True):
    """``thinking``: the model's own, signed by its provider."""

    thinking: str = ""
    signature: str = ""


class RedactedThinking(msgspec.Struct, frozen=True):
    """``redacted_thinking``: thinking that only the provider can read."""

    data: str


class Opaque(msgspec.Struct, frozen=True):
    """A block of any other type, which is passed on as it is."""

    cache_control: Raw | UnsetType = UNSET


BlockValue: TypeAlias = (
    Text
    | Image
    | Document
    | ToolUse
    | ToolResult
    | Thinking
    | RedactedThinking
    | Opaque
)

_BLOCKS: Mapping[str, type[BlockValue]] = {
    "text": Text,
    "image": Image,
    "document": Document,
    "tool_use": ToolUse,
    "tool_result": ToolResult,
    "thinking": Thinking,
    "redacted_thinking": RedactedThinking,
}
_T = TypeVar("_T")


@frozen
class Parsed(Generic[_T]):
    """A JSON object: what is read of it, and all of it as it came.

    Attributes:
        raw: the JSON text of the whole object.
        at: its path in the client's request; not compared.
    """

    value: _T
    raw: bytes
    at: str = field(default="", eq=False)

    @property
    def fields(self) -> dict[str, Raw]:
        """Every field of the object, undecoded."""
        return _decode_shallow(self.raw)

    def replaced(self, **changes: object) -> Self:
        """The object with some fields replaced; `UNSET` removes one."""
        fields: dict[str, object] = {**self.fields, **changes}
        raw = _encode({k: v for k, v in fields.items() if v is not UNSET})
        return evolve(self, value=self._reread(raw), raw=raw)

    def _reread(self, raw: bytes) -> _T:
        return msgspec.json.decode(raw, type=type(self.value))


@frozen
class Block(Parsed[BlockValue]):
    """A content block of any type.

    Attributes:
        renamed: what the client's request calls a field of this object, where that
            differs, such as ``input`` → ``function.arguments``; not compared.
    """

    type: str = ""
    renamed: Mapping[str, str] = field(factory=dict, eq=False)

    def path_of(self, name: str) -> str:
        """The client's path of a field; empty: nobody knows it."""
        return f"{self.at}.{self.renamed.get(name, name)}" if self.at else ""

    @classmethod
    def decode(cls, raw: bytes | Raw, at: str = "") -> "Block":
        """Read one block.

        Raises:
            msgspec.ValidationError: it has no type, or a known type's fields are
                missing or of other types.
        """
        kind = msgspec.json.decode(raw, type=_Tag).type
        value = msgspec.json.decode(raw, type=_BLOCKS.get(kind, Opaque))
        return cls(value, bytes(raw), at, kind)

    @classmethod
    def make(cls, kind: str, *, at: str = "", **fields: object) -> "Block":
        """A block of these fields; `UNSET` ones are left out."""
        kept = {k: v for k, v in fields.items() if v is not UNSET}
        return cls.decode(_encode({"type": kind, **kept}), at)


class _Tag(msgspec.Struct):
    type: str


def text_block(text: str, at: str = "") -> Block:
    """A block of text."""
    return Block.make("text", text=text, at=at)


def tool_use_block(
    identifier: str,
    name: str,
    arguments: Mapping[str, Any] | Raw,
    at: str = "",
    renamed: Mapping[str, str] | None = None,
) -> Block:
    """A call of a tool; ``arguments`` is a JSON object."""
    made = Block.make("tool_use", id=identifier, name=name, input=arguments, at=at)
    return made if renamed is None else evolve(made, renamed=renamed)


def tool_result_block(
    tool_use_id: str,
    content: str | Sequence[Block],
    *,
    is_error: bool = False,
    at: str = "",
) -> Block:
    """The result of a call: a text, or blocks."""
    told = content if isinstance(content, str) else [Raw(b.raw) for b in content]
    return Block.make(
        "tool_result",
        tool_use_id=tool_use_id,
        content=told,
        is_error=True if is_error else UNSET,
        at=at,
    )


def thinking_block(thinking: str, signature: str, at: str = "") -> Block:
    """What the model has thought, with its provider's signature."""
    return Block.make("thinking", thinking=thinking, signature=signature, at=at)


def redacted_thinking_block(data: str, at: str = "") -> Block:
    """What the model has thought, legible to its provider only."""
    return Block.make("redacted_thinking", data=data, at=at)


def result_content(result: ToolResult, at: str = "") -> str | tuple[Block, ...]:
    """What a tool gave back: a text, or blocks; an absent content is an empty text.

    Raises:
        msgspec.ValidationError: it is neither.
    """
    if isinstance(result.content, UnsetType):
        return ""
    return content_of(result.content, f"{at}.content" if at else "")


def content_of(raw: bytes | Raw, at: str = "") -> str | tuple[Block, ...]:
    """A ``content``: a text, or blocks.

    Args:
        raw: its JSON.
        at: its path in the client's request.

    Raises:
        msgspec.ValidationError: it is neither, or a block is not of its type's shape.
    """
    read = msgspec.json.decode(raw, type=str | list[Raw] | None)
    if read is None:
        return ""
    if isinstance(read, str):
        return read
    paths = [f"{at}[{n}]" if at else "" for n in range(len(read))]
    return tuple(Block.decode(*pair) for pair in zip(read, paths, strict=True))


@frozen
class Message:
    """A turn: who speaks (``user``, ``assistant``, ``system``), and what.

    Attributes:
        content: as the client wrote it: a text, or blocks.
        at: its path in the client's request; not compared.
        extra: fields that the API does not document, or not yet.
    """

    role: Role
    content: str | tuple[Block, ...]
    at: str = field(default="", eq=False)
    extra: Mapping[str, Raw] = field(factory=dict)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The content as blocks; a text is one block, an empty text is none."""
        if isinstance(self.content, str):
            at = f"{self.at}.content" if self.at else ""
            return (text_block(self.content, at),) if self.content else ()
        return self.content


class ToolValue(msgspec.Struct, frozen=True):
    """An entry of ``tools``: the client's own, or one that Anthropic has defined."""

    name: str = ""
    type: str = "custom"
    description: str | None = None
    input_schema: Raw | UnsetType = UNSET
    strict: bool | None = None
    defer_loading: bool | None = None
    cache_control: Raw | UnsetType = UNSET


@frozen
class Tool(Parsed[ToolValue]):
    """A tool that the model may call.

    Attributes:
        renamed: what the client's request calls a field of this object, where that
            differs, such as ``input_schema`` → ``parameters``; not compared.
    """

    renamed: Mapping[str, str] = field(factory=dict, eq=False)

    @classmethod
    def decode(
        cls, raw: bytes | Raw, at: str = "", renamed: Mapping[str, str] | None = None
    ) -> "Tool":
        """Read one tool.

        Raises:
            msgspec.ValidationError: a field that is read is of another type.
        """
        value = msgspec.json.decode(raw, type=ToolValue)
        return cls(value, bytes(raw), at, renamed or {})


def client_tool(
    name: str,
    description: str | None,
    input_schema: Mapping[str, Any] | Raw,
    *,
    at: str = "",
    renamed: Mapping[str, str] | None = None,
    **fields: object,
) -> Tool:
    """A tool that the client runs."""
    about: dict[str, object] = {"name": name}
    if description is not None:
        about["description"] = description
    about["input_schema"] = input_schema
    kept = {k: v for k, v in fields.items() if v is not UNSET}
    return Tool.decode(_encode({**about, **kept}), at, renamed)


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """``tool_choice``: what the model has to do with its tools."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a call."""
        return self.type in ("any", "tool")


class ThinkingValue(msgspec.Struct, frozen=True):
    """``thinking``: whether, how long and how visibly the model thinks."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class OutputValue(msgspec.Struct, frozen=True):
    """``output_config``: how hard the model works, and the form of its answer."""

    effort: str | None = None
    format: Raw | UnsetType = UNSET


class OutputFormat(msgspec.Struct, frozen=True):
    """``output_config.format``; ``schema`` is a JSON Schema."""

    type: str
    schema: Raw | UnsetType = UNSET


ThinkingConfig: TypeAlias = Parsed[ThinkingValue]
OutputConfig: TypeAlias = Parsed[OutputValue]


@frozen(kw_only=True)
class MessagesRequest:
    """A question to the model, with everything it depends on.

    Attributes:
        model: the client's name for it; empty for the configured one.
        system: the whole system prompt; empty for none.
        max_tokens: None: the client names none.
        shows_thinking: whether the client is shown the model's thinking; decides what
            is asked for where ``thinking`` says nothing.
        default_thinking: what an absent ``thinking`` means: ``cli`` what Claude Code
            itself would ask for, ``api`` what the Messages API does without it.
        thinking_models: the full id of the model that has thought each thinking block
            in ``messages``, by the block's signature or data; one that is not named is
            taken for the asked model's.
        thinking_prefixes: the hash of what stood before each thinking block when it
            was made (``Composition.prefix``), by the same key; one that is not named
            is taken to fit.
        may_be_kept: whether anything of the answer may be written to a disk.
        paths: the client's names for fields, such as ``max_tokens`` →
            ``max_completion_tokens`` and ``output_config.format.schema`` →
            ``text.format.schema``; not compared.
        extra: every other top-level field, as it came.
    """

    messages: tuple[Message, ...]
    model: str = ""
    system: str = ""
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    shows_thinking: bool = True
    default_thinking: Literal["cli", "api"] = "cli"
    extra: Mapping[str, Raw] = field(factory=dict)
    thinking_models: Mapping[str, str] = field(factory=dict)
    thinking_prefixes: Mapping[str, str] = field(factory=dict)
    may_be_kept: bool = True
    paths: Mapping[str, str] = field(factory=dict, eq=False)

    @property
    def effort(self) -> str | None:
        """How hard the model is to work, in the client's word."""
        return None if self.output_config is None else self.output_config.value.effort

    @property
    def output_format(self) -> OutputFormat | None:
        """The form that the answer has to have; None: any text.

        Raises:
            msgspec.ValidationError: ``output_config.format`` is no object with a type.
        """
        form = UNSET if self.output_config is None else self.output_config.value.format
        if isinstance(form, UnsetType):
            return None
        return msgspec.json.decode(form, type=OutputFormat | None)


def parsed(kind: Callable[..., _T], at: str = "", **fields: object) -> "Parsed[_T]":
    """A `Parsed` object of a struct type, made of these fields; `UNSET` is left out."""
    raw = _encode({k: v for k, v in fields.items() if v is not UNSET})
    return Parsed(msgspec.json.decode(raw, type=kind), raw, at)


# What either JavaScript's trim() or Python's strip() empties: the CLI leaves out what
# the one does, the API refuses what the other does.
_BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def is_blank(text: str) -> bool:
    """Whether a text has nothing in it that the model could be shown."""
    return not text.strip(_BLANKS)
