"""The hash of everything that stands before an answer, as it went up. Pure.

Newer models refuse thinking behind another prefix than the one it was made behind. So
each remembered answer, and each block that a client keeps for us, is kept with this
hash. Breakpoints of the cache do not count; a text counts the same as a block of it.

Source: rule 25 of the Messages API, "Prefix checks on thinking blocks".
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Self

import msgspec
from msgspec import Raw

from ccproxy.claude.body.turns import Turn
from ccproxy.core.messages import Block, Text

_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
_PLAIN_TEXT = frozenset({"type", "text", "cache_control"})
_DIGEST_BYTES = 16


class Prefix:
    """The hash of a conversation so far; grows with each turn."""

    def __init__(self, system: str, tools: Iterable[bytes]) -> None:
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._put(b"system", system.encode())
        for raw in tools:
            self._object(b"tool", raw)

    @property
    def digest(self) -> str:
        """The hash as it is now, in hexadecimal."""
        return self._hash.hexdigest()

    def copy(self) -> Self:
        """One that grows by itself."""
        other = type(self).__new__(type(self))
        other._hash = self._hash.copy()
        return other

    def add(self, turn: Turn) -> None:
        """Take one more turn."""
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
        # With lengths, so that no two conversations are written alike.
        self._hash.update(b"%d %d " % (len(what), len(value)))
        self._hash.update(what)
        self._hash.update(value)
