"""Finds the web pages that an answer cites, and where the citing texts are. Pure.

The Messages API cites pages for a whole text block. OpenAI's APIs have an annotation
with a position in the message: ``start_index`` is the index of the first character of
the citing text, ``end_index`` the index after its last character. A character is a
Unicode code point, so that Python's ``text[start_index:end_index]`` is the citing text.

Source: ``citations_delta`` and ``CitationsWebSearchResultLocation`` of anthropic-python
2.14; ``UrlCitationBody`` in OpenAI's document. The document does not say whether
``end_index`` is inclusive, nor what a character is.
"""

from collections.abc import Sequence

import msgspec
from attrs import frozen

from ccproxy.core.blocks import Block, Text

_PAGE = "web_search_result_location"


class _Citation(msgspec.Struct):
    type: str
    url: str = ""
    title: str | None = None


class _Cited(msgspec.Struct):
    citations: list[msgspec.Raw] | None = None


class _Delta(msgspec.Struct):
    type: str
    citation: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))


_decode_block = msgspec.json.Decoder(_Cited).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_citation = msgspec.json.Decoder(_Citation).decode


@frozen
class URLCitation:
    """A page that a part of the text cites.

    Attributes:
        start: the index of the part's first character in the message.
        end: the index after its last character.
        title: the page's title; empty if the page has none.
    """

    url: str
    title: str
    start: int
    end: int

    @property
    def fields(self) -> dict[str, object]:
        """The fields of OpenAI's annotation, besides ``type``."""
        return {
            "start_index": self.start,
            "end_index": self.end,
            "url": self.url,
            "title": self.title,
        }


class CitedText:
    """Follows the text of a message, block by block."""

    def __init__(self) -> None:
        self._length = 0
        # The index at which the current block's text begins; None: no text yet.
        self._start: int | None = None
        # The URLs and titles that the current block cites, each once.
        self._pages: dict[tuple[str, str], None] = {}

    def begin_message(self) -> None:
        """Count from 0 again, because the next text begins another message."""
        self._length = 0
        self._start = None

    def begin_block(self, block: Block) -> None:
        """Take the beginning of a block, with the citations that it already has."""
        self._start = None
        self._pages.clear()
        if isinstance(block.value, Text) and b'"citations"' in block.raw:
            for raw in _decode_block(block.raw).citations or ():
                self._cite(bytes(raw))

    def add(self, text: str) -> None:
        """Count a piece of the current block's text that was sent to the client."""
        if self._start is None:
            self._start = self._length
        self._length += len(text)

    def delta(self, raw: bytes) -> None:
        """Take a delta of any type; those without a citation are ignored."""
        if b'"citations_delta"' in raw:
            self._cite(bytes(_decode_delta(raw).citation))

    def _cite(self, raw: bytes) -> None:
        try:
            cited = _decode_citation(raw)
        except msgspec.ValidationError:
            # A newer form of citation.
            return
        if cited.type == _PAGE and cited.url:
            self._pages[cited.url, cited.title or ""] = None

    def end_block(self) -> Sequence[URLCitation]:
        """Return and forget the citations of the current block, which is complete."""
        start, pages = self._start, tuple(self._pages)
        self._start = None
        self._pages.clear()
        if start is None or start == self._length:
            return ()
        return [URLCitation(url, title, start, self._length) for url, title in pages]
