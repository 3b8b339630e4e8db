"""The content blocks of the Messages API, as decoded fields with their original JSON.

The fields that the proxy has to understand are decoded to structs. Every object also
keeps its original JSON text, so unknown fields and types of blocks are passed on.

``at`` is the path of an object in the client's own request, for error messages:
``messages[3].content[0]``, ``tools[2].function``. The module of `ccproxy.api` that
decodes the request sets ``at``. An empty ``at`` means that the path is not known.

Source: ``MessageCreateParams`` of anthropic-python 2.14, stable and beta.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeAlias, TypeVar

import msgspec
from attrs import evolve, field, frozen
from msgspec import UNSET, Raw, UnsetType

_encode = msgspec.json.Encoder().encode
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode


class Text(msgspec.Struct, frozen=True):
    """``text``: a piece of text."""

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
    """``tool_use``: a call of one of the client's tools; ``input`` is JSON."""

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
    """``thinking``: the model's thinking, signed by the provider."""

    thinking: str = ""
    signature: str = ""


class RedactedThinking(msgspec.Struct, frozen=True):
    """``redacted_thinking``: thinking that is encrypted for the provider."""

    data: str = ""


class SearchCopy(msgspec.Struct, frozen=True):
    """``ccproxy_search_copy``: the client's copy of a search, without its results.

    A decoder of OpenAI's APIs makes it. The composer replaces it by the remembered
    blocks, or leaves it out. It is never sent.
    """


class Opaque(msgspec.Struct, frozen=True):
    """A block of any other type, which is passed on unchanged."""

    cache_control: Raw | UnsetType = UNSET


BlockValue: TypeAlias = (
    Text
    | Image
    | Document
    | ToolUse
    | ToolResult
    | Thinking
    | RedactedThinking
    | SearchCopy
    | Opaque
)


_SEARCH_COPY = "ccproxy_search_copy"
_BLOCKS: Mapping[str, type[BlockValue]] = {
    "text": Text,
    "image": Image,
    "document": Document,
    "tool_use": ToolUse,
    "tool_result": ToolResult,
    "thinking": Thinking,
    "redacted_thinking": RedactedThinking,
    _SEARCH_COPY: SearchCopy,
}


_T = TypeVar("_T")


@frozen
class Parsed(Generic[_T]):
    """A JSON object: its decoded fields and its JSON text.

    Attributes:
        value: the fields that the proxy understands.
        raw: the JSON text of the whole object.
        at: the object's path in the client's request; not compared.
    """

    value: _T
    raw: bytes
    at: str = field(default="", eq=False)

    @property
    def fields(self) -> dict[str, Raw]:
        """Every field of the object, undecoded."""
        return _decode_shallow(self.raw)

    def replaced(self, **changes: object) -> Self:
        """The object with some fields replaced; `UNSET` removes a field."""
        fields: dict[str, object] = {**self.fields, **changes}
        raw = _encode({k: v for k, v in fields.items() if v is not UNSET})
        return evolve(self, value=self._reread(raw), raw=raw)

    def _reread(self, raw: bytes) -> _T:
        return msgspec.json.decode(raw, type=type(self.value))


@frozen
class Block(Parsed[BlockValue]):
    """A content block of any type.

    Attributes:
        renamed: the client's names of fields that have other names in the client's
            API, such as ``input`` → ``function.arguments``; not compared.
        inner: the blocks of a tool result's content, if they have their own paths; not
            compared.
    """

    type: str = ""
    renamed: Mapping[str, str] = field(factory=dict, eq=False)
    inner: "tuple[Block, ...]" = field(default=(), eq=False)

    def path_of(self, name: str) -> str:
        """The path of a field in the client's request; empty: not known."""
        return f"{self.at}.{self.renamed.get(name, name)}" if self.at else ""

    @classmethod
    def decode(cls, raw: bytes | Raw, at: str = "") -> "Block":
        """Decode a block.

        Raises:
            msgspec.ValidationError: the block has no type, or a field of a known type
                is missing or has a wrong type.
        """
        kind = msgspec.json.decode(raw, type=_Tag).type
        value = msgspec.json.decode(raw, type=_BLOCKS.get(kind, Opaque))
        return cls(value, bytes(raw), at, kind)

    @classmethod
    def make(cls, kind: str, *, at: str = "", **fields: object) -> "Block":
        """Make a block of a type from fields; a field that is `UNSET` is left out."""
        kept = {k: v for k, v in fields.items() if v is not UNSET}
        return cls.decode(_encode({"type": kind, **kept}), at)


class _Tag(msgspec.Struct):
    type: str


def text_block(text: str, at: str = "") -> Block:
    """A ``text`` block."""
    return Block.make("text", text=text, at=at)


def tool_use_block(
    identifier: str,
    name: str,
    arguments: Mapping[str, Any] | Raw,
    at: str = "",
    renamed: Mapping[str, str] | None = None,
) -> Block:
    """A ``tool_use`` block; ``arguments`` is a JSON object."""
    made = Block.make("tool_use", id=identifier, name=name, input=arguments, at=at)
    return made if renamed is None else evolve(made, renamed=renamed)


def tool_result_block(
    tool_use_id: str,
    content: str | Sequence[Block],
    *,
    is_error: bool = False,
    at: str = "",
) -> Block:
    """A ``tool_result`` block, whose content is a text or blocks."""
    inner = () if isinstance(content, str) else tuple(content)
    about: dict[str, object] = {"is_error": True} if is_error else {}
    about["content"] = [Raw(b.raw) for b in inner] or content
    made = Block.make("tool_result", tool_use_id=tool_use_id, at=at, **about)
    return evolve(made, inner=inner)


def thinking_block(thinking: str, signature: str, at: str = "") -> Block:
    """A ``thinking`` block."""
    return Block.make("thinking", thinking=thinking, signature=signature, at=at)


def redacted_thinking_block(data: str, at: str = "") -> Block:
    """A ``redacted_thinking`` block."""
    return Block.make("redacted_thinking", data=data, at=at)


def search_copy(at: str) -> Block:
    """The client's copy of a search; ``at`` is empty if it need not be reported."""
    return Block(SearchCopy(), b'{"type":"ccproxy_search_copy"}', at, _SEARCH_COPY)


def result_content(result: ToolResult, at: str = "") -> str | tuple[Block, ...]:
    """The content of a tool result: a text or blocks; absent: an empty text.

    Raises:
        msgspec.ValidationError: the content is neither text nor blocks.
    """
    if isinstance(result.content, UnsetType):
        return ""
    return content_of(result.content, f"{at}.content" if at else "")


def content_of(raw: bytes | Raw, at: str = "") -> str | tuple[Block, ...]:
    """Decode a ``content`` field to a text or blocks.

    Args:
        raw: the field's JSON.
        at: the field's path in the client's request.

    Raises:
        msgspec.ValidationError: the content is neither text nor blocks, or a block is
            invalid.
    """
    read = msgspec.json.decode(raw, type=str | list[Raw] | None)
    if read is None:
        return ""
    if isinstance(read, str):
        return read
    paths = [f"{at}[{n}]" if at else "" for n in range(len(read))]
    return tuple(Block.decode(*pair) for pair in zip(read, paths, strict=True))


def parsed(kind: Callable[..., _T], at: str = "", **fields: object) -> "Parsed[_T]":
    """Make a `Parsed` object of a struct type; a field that is `UNSET` is left out."""
    raw = _encode({k: v for k, v in fields.items() if v is not UNSET})
    return Parsed(msgspec.json.decode(raw, type=kind), raw, at)


# The characters that JavaScript's trim() or Python's strip() removes. The API refuses a
# text that strip() makes empty. The CLI drops a text that trim() makes empty
# (docs/claude-cli-protocol.md, "Input").
_BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def is_blank(text: str) -> bool:
    """Whether a text is empty or consists of white space."""
    return not text.strip(_BLANKS)
