"""Corrects blocks that contain blocks: results, documents, search results. Pure.

=================================  ==============================================
part of an inner block             what the proxy does
=================================  ==============================================
blank text                         leaves it out; a document or search result with
                                   blank text only is left out, too
breakpoint                         moves it to the outer block
JSON that the CLI changes          sends the block (see `ccproxy.claude.body.numbers`)
=================================  ==============================================

All of these are reported.

Source: rules 3, 12, 14 and 41 of the Messages API.
"""

from collections.abc import Sequence

import msgspec
from attrs import evolve, frozen
from msgspec import UNSET, Raw, UnsetType

from ccproxy.claude.body.numbers import is_reprinted
from ccproxy.claude.body.result import Notes
from ccproxy.core.blocks import Block, Opaque, is_blank

_RESULT = "tool_result"
_DOCUMENT = "document"
# Blocks whose ``content`` may have blocks; a document has ``content`` in its source.
_OUTER = (_RESULT, _DOCUMENT, "search_result", "mcp_tool_result")
# Large blocks without numbers that the CLI could change.
_WITHOUT_NUMBERS = ("text", "image", _DOCUMENT)

_encode = msgspec.json.Encoder().encode
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_parts = msgspec.json.Decoder(list[Raw]).decode


class _Part(msgspec.Struct):
    """The fields of an inner block that the correction needs."""

    type: str = ""
    text: str | None = None
    cache_control: Raw | UnsetType = UNSET


class _Source(msgspec.Struct):
    type: str = ""
    content: Raw | UnsetType = UNSET


_decode_part = msgspec.json.Decoder(_Part).decode
_decode_source = msgspec.json.Decoder(_Source).decode


@frozen
class _Marker:
    """A breakpoint that was removed from an inner block, with its path."""

    value: Raw
    at: str


def corrected_outer(block: Block, notes: Notes) -> Block | None:
    """Correct the inner blocks of a block of any type; None: the block is left out."""
    if block.type not in _OUTER:
        return block
    kept, marker = _corrected(block, notes)
    if kept is None or marker is None or not _is_null(kept.fields.get("cache_control")):
        return kept
    path = marker.at.removeprefix(f"{kept.at}.")
    return evolve(
        kept.replaced(cache_control=marker.value),
        renamed={**kept.renamed, "cache_control": path},
    )


def _corrected(block: Block, notes: Notes) -> tuple[Block | None, _Marker | None]:
    """The block without inner blanks and breakpoints, and the last breakpoint."""
    field, content = _content(block)
    if content is None:
        return block, None
    at = f"{block.at}.{field}" if block.at else ""
    if content.startswith(b'"'):
        if block.type == _RESULT or not is_blank(msgspec.json.decode(content)):
            return block, None
        notes.ignore(block.at)
        return None, None
    if not content.startswith(b"["):
        return block, None
    parts = _Parts(at, block.inner, notes)
    for index, raw in enumerate(_decode_parts(content)):
        parts.add(index, raw)
    if not parts.has_changed:
        return block, None
    if not parts.kept and block.type != _RESULT:
        notes.ignore(block.at)
        return None, None
    changes: dict[str, object] = {"content": parts.kept}
    if block.type == _DOCUMENT:
        changes = {"source": {**_decode_shallow(block.fields["source"]), **changes}}
    return evolve(block.replaced(**changes), inner=tuple(parts.inner)), parts.marker


def _content(block: Block) -> tuple[str, bytes | None]:
    """The path and the JSON of the field with inner blocks; None: no such field."""
    field, content = "content", block.fields.get("content", UNSET)
    if block.type == _DOCUMENT:
        field, content = "source.content", UNSET
        try:
            source = _decode_source(block.fields.get("source", Raw(b"{}")))
        except msgspec.ValidationError:
            # The provider's error explains the fault better.
            source = _Source()
        if source.type == "content":
            content = source.content
    return field, bytes(content).lstrip() if isinstance(content, Raw) else None


class _Parts:
    """Collects the corrected inner blocks of a block."""

    def __init__(self, at: str, paths: Sequence[Block], notes: Notes) -> None:
        self.kept: list[Raw] = []
        self.inner: list[Block] = []
        self.marker: _Marker | None = None
        self.has_changed = False
        self._at = at
        self._paths = paths
        self._notes = notes

    def add(self, index: int, raw: Raw) -> None:
        """Correct an inner block, and add it unless it is left out."""
        path = f"{self._at}[{index}]" if self._at else ""
        try:
            known = _decode_part(raw)
        except msgspec.ValidationError:
            known = _Part()
        told = Block(Opaque(), bytes(raw), path, known.type)
        if self._paths:
            told = self._paths[index]
        if known.type not in _WITHOUT_NUMBERS and is_reprinted(bytes(raw)):
            self._notes.adjust(told.at)
        if known.type == "text" and known.text is not None and is_blank(known.text):
            self._notes.ignore(told.at)
            self.has_changed = True
            return
        if known.type in _OUTER:
            inner, marker = _corrected(told, self._notes)
            if inner is not told:
                self.has_changed = True
            if inner is None:
                return
            self.marker, told = marker or self.marker, inner
            raw = Raw(inner.raw)
        if not _is_null(known.cache_control):
            self.has_changed = True
            raw = self._unmarked(raw, told.path_of("cache_control"))
        self.inner.append(told)
        self.kept.append(raw)

    def _unmarked(self, raw: Raw, path: str) -> Raw:
        fields = _decode_shallow(raw)
        self._notes.adjust(path)
        self.marker = _Marker(fields.pop("cache_control"), path)
        return Raw(_encode(fields))


def _is_null(value: Raw | UnsetType | None) -> bool:
    return not isinstance(value, Raw) or bytes(value).strip() == b"null"
