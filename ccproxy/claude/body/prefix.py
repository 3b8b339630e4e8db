"""The hash of everything that is sent before an answer. Pure.

With newer models the provider refuses thinking if the conversation before it has
changed. So the proxy stores this hash with each remembered answer, and with thinking
that a client sends back. The hash ignores breakpoints of the cache. A text has the same
hash as a text block.

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
    """The hash of a conversation so far; each turn changes it."""

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
        # The lengths keep different conversations from having the same input.
        self._hash.update(b"%d %d " % (len(what), len(value)))
        self._hash.update(what)
        self._hash.update(value)
