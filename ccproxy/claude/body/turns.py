"""Corrects messages that the provider would refuse, and hashes conversations. Pure.

=================================  ==============================================
part of a message                  what the proxy does
=================================  ==============================================
blank text                         leaves it out; a message without other content
                                   is left out, too
thinking without a signature       leaves it out
invalid name of a call             replaces it
``input`` of a call that is not    makes it an object, see `as_object`
an object
blocks within a block              see `ccproxy.claude.body.nested`
breakpoint on thinking             removes it
JSON that the CLI changes          sends the block (see `ccproxy.claude.body.numbers`)
=================================  ==============================================

All of these are reported.

With newer models the provider refuses thinking if the conversation before it has
changed. So the proxy stores a hash of everything before an answer (`Prefix`) with each
remembered answer, and with thinking that a client sends back. The hash ignores
cache breakpoints. A text has the same hash as a text block.

Source: rules 3, 7, 11, 12, 14, 24 and 25 of the Messages API.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Self

import msgspec
from attrs import define, field
from msgspec import UNSET, Raw

from ccproxy.claude.body.nested import corrected_outer
from ccproxy.claude.body.numbers import is_reprinted
from ccproxy.claude.body.options import has_beta
from ccproxy.claude.body.result import Notes
from ccproxy.core.blocks import (
    Block,
    Opaque,
    RedactedThinking,
    Text,
    Thinking,
    ToolUse,
    is_blank,
)
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Message
from ccproxy.core.tool_calls import (
    NOTHING,
    arguments_object,
    is_sound,
    sound_name,
    wrapped,
)

ROLES = ("user", "assistant", "system")

_encode = msgspec.json.Encoder().encode
_CACHE_CONTROL = b'"cache_control"'
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
_PLAIN_TEXT = frozenset({"type", "text", "cache_control"})
_DIGEST_BYTES = 16


@define
class Turn:
    """A message of the body.

    Attributes:
        content: a text, or blocks.
        at: the message's path in the client's request; empty: the proxy added it.
    """

    role: str
    content: str | list[Block]
    at: str = ""
    extra: Mapping[str, Raw] = field(factory=dict)

    @property
    def blocks(self) -> Sequence[Block]:
        """The content as blocks."""
        if isinstance(self.content, str):
            return (self.text_block(),)
        return self.content

    def text_block(self, **fields: object) -> Block:
        """The content, which is a text, as one block."""
        text = str(self.content)
        raw = _encode({"type": "text", "text": text, **fields})
        marker = fields.get("cache_control", UNSET)
        value = Text(text, UNSET if marker is UNSET else Raw(_encode(marker)))
        return Block(value, raw, f"{self.at}.content" if self.at else "", "text")

    def encode(self) -> bytes:
        """The message as JSON."""
        if isinstance(self.content, str):
            content = _encode(self.content)
        else:
            content = b"[" + b",".join([block.raw for block in self.content]) + b"]"
        start = b'{"role":"' + self.role.encode() + b'","content":' + content
        if not self.extra:
            return start + b"}"
        return start + b"," + _encode(dict(self.extra))[1:]


def is_thinking(block: Block) -> bool:
    """Whether a block is thinking, redacted or not."""
    return isinstance(block.value, Thinking | RedactedThinking)


def read_turn(
    message: Message, notes: Notes, betas: Collection[str] = ()
) -> Turn | None:
    """The corrected message; None: it has no content after the correction.

    Args:
        message: the client's message.
        notes: gets the paths of fields that are changed or left out.
        betas: the betas that the CLI's processes name.

    Raises:
        InvalidRequest: the role does not exist.
    """
    if message.role not in ROLES:
        path = f"{message.at}.role" if message.at else "messages"
        raise InvalidRequest(
            f"`{path}`: {message.role!r} is not a role; the roles are user, assistant "
            "and system",
            param=path,
        )
    content, extra = message.content, message.extra
    if extra:
        extra = _allowed(message, betas, notes)
    if isinstance(content, str):
        if is_blank(content):
            notes.ignore(f"{message.at}.content" if message.at else "")
            return None
        return Turn(message.role, content, message.at, extra)
    blocks = [corrected for block in content if (corrected := _corrected(block, notes))]
    if not blocks:
        for name in extra:
            notes.ignore(f"{message.at}.{name}" if message.at else "")
        if not content:
            notes.ignore(f"{message.at}.content" if message.at else "")
        return None
    return Turn(message.role, blocks, message.at, extra)


def _allowed(
    message: Message, betas: Collection[str], notes: Notes
) -> Mapping[str, Raw]:
    """The message's other fields, without those whose beta is missing."""
    kept: dict[str, Raw] = {}
    for name, value in message.extra.items():
        if has_beta(betas, f"messages.{name}"):
            kept[name] = value
        else:
            notes.ignore(f"{message.at}.{name}" if message.at else "")
    return kept


def _corrected(block: Block, notes: Notes) -> Block | None:
    """The corrected block; None: the block is left out."""
    match block.value:
        case Text(text) if is_blank(text):
            notes.ignore(block.at)
            return None
        case Thinking(signature=""):
            notes.ignore(block.at)
            return None
        case Thinking() | RedactedThinking() if _CACHE_CONTROL in block.raw:
            fields = block.fields
            if "cache_control" in fields:
                notes.adjust(f"{block.at}.cache_control" if block.at else "")
                return block.replaced(cache_control=UNSET)
        case ToolUse(name=name, input=arguments):
            if not is_sound(name):
                notes.adjust(block.path_of("name"))
                block = block.replaced(name=sound_name(name))
            return _with_object(block, arguments, notes)
        case Opaque() if is_reprinted(block.raw):
            notes.adjust(block.at)
    return corrected_outer(block, notes)


def _with_object(block: Block, arguments: Raw, notes: Notes) -> Block:
    path = block.path_of("input")
    raw = bytes(arguments).lstrip()
    if raw.startswith(b"{"):
        if is_reprinted(raw):
            notes.adjust(path)
        return block
    notes.adjust(path)
    return block.replaced(input=as_object(raw))


def as_object(raw: bytes) -> Raw:
    """The object that replaces another JSON value."""
    if raw.startswith(b"null"):
        return NOTHING
    if raw.startswith(b'"'):
        return arguments_object(msgspec.json.decode(raw, type=str))[0]
    return wrapped(Raw(raw))


class Prefix:
    """The hash of a conversation; `add` adds a turn."""

    def __init__(self, system: str, tools: Iterable[bytes]) -> None:
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._put(b"system", system.encode())
        for raw in tools:
            self._object(b"tool", raw)

    @property
    def digest(self) -> str:
        """The current hash, in hexadecimal."""
        return self._hash.hexdigest()

    def copy(self) -> Self:
        """An independent copy."""
        other = type(self).__new__(type(self))
        other._hash = self._hash.copy()
        return other

    def add(self, turn: Turn) -> None:
        """Add a turn."""
        self._put(b"role", turn.role.encode())
        if isinstance(turn.content, str):
            self._put(b"text", turn.content.encode())
            return
        for block in turn.content:
            self._block(block)

    def _block(self, block: Block) -> None:
        if isinstance(block.value, Text):
            fields = _decode_shallow(block.raw)
            if fields.keys() <= _PLAIN_TEXT:
                self._put(b"text", block.value.text.encode())
            else:
                self._fields(b"block", fields)
        else:
            self._object(b"block", block.raw)

    def _object(self, what: bytes, raw: bytes) -> None:
        self._fields(what, _decode_shallow(raw))

    def _fields(self, what: bytes, fields: Mapping[str, Raw]) -> None:
        self._put(what, b"")
        for name in sorted(fields):
            if name != "cache_control":
                self._put(name.encode(), bytes(fields[name]))

    def _put(self, what: bytes, value: Any) -> None:
        # The lengths keep different conversations with the same concatenation apart.
        self._hash.update(b"%d %d " % (len(what), len(value)))
        self._hash.update(what)
        self._hash.update(value)
