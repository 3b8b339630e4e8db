"""Translates images and documents to blocks of the Messages API. Pure.

The proxy fetches no URL. An https URL is sent to the model's provider unchanged. Any
other URL is refused, so that no request can make a server read a file or access a
private network.

The media type is read from the first bytes of the data. If the client declares another
type, or sends an image as a file or a PDF as an image, the block gets the right type,
and the change is reported. The size is not checked: the provider has its own limits.

Source: the Messages API's image and document blocks; ``image_url`` and ``file`` parts
of chat completions, ``input_image`` and ``input_file`` of Responses.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping

import msgspec
from attrs import evolve, frozen
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.data_url import (
    DataURL,
    has_scheme,
    head,
    read_data_url,
    standard_base64,
)
from ccproxy.api.common.decoding import required
from ccproxy.core.blocks import Block, Document, Image, ToolResult, is_blank
from ccproxy.core.errors import InvalidRequest, unsupported
from ccproxy.core.messages import Adjustments

_HTTPS = re.compile(r"https://[^/?#\s]", re.IGNORECASE)
_PDF = "application/pdf"
# The types that the Messages API accepts, by their first bytes.
_TYPES: Mapping[str, Callable[[bytes], bool]] = {
    "image/png": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": lambda data: data.startswith(b"\xff\xd8\xff"),
    "image/gif": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "image/webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    _PDF: lambda data: data.startswith(b"%PDF-"),
}
# Declared types that fit every image and PDF.
_ANY = ("", "image/jpg", "image/*", "application/octet-stream")
# Declared types of text.
_TEXT = re.compile(
    r"|text/.*|application/(?:octet-stream|(?:.*\+|x-)?(?:json|xml|yaml|javascript))"
)
_CHARSETS: Mapping[str, str] = {
    **dict.fromkeys(("", "utf-8", "utf8", "us-ascii", "ascii"), "utf-8-sig"),
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    **dict.fromkeys(("iso-8859-1", "latin1", "windows-1252"), "cp1252"),
}


def media_type(data: bytes) -> str | None:
    """The media type of an image or a PDF, by its first bytes; None: it is neither."""
    return next((kind for kind, matches in _TYPES.items() if matches(data)), None)


@frozen
class Part:
    """A part of a client's message that contains an image or a file.

    Attributes:
        at: the path of the part in the request.
        field: the name of the field with the data, below ``at``.
        adjustments: records the path of the data if the declared type is wrong.
        cache_control: the client's cache breakpoint at the part.
    """

    at: str
    field: str
    adjustments: Adjustments
    cache_control: Raw | UnsetType = UNSET

    @property
    def path(self) -> str:
        """The path of the data."""
        return f"{self.at}.{self.field}" if self.field else self.at

    def block(self, kind: str, source: Mapping[str, str], **fields: object) -> Block:
        """Make the block for the part.

        Args:
            kind: the type of the block, ``image`` or ``document``.
            source: the block's ``source``.
            fields: other fields of the block.
        """
        about = {"source": source, "cache_control": self.cache_control, **fields}
        made = Block.make(kind, at=self.at, **about)
        return evolve(made, renamed={"source": self.field})

    def binary(self, url: DataURL, title: str | None, expected: str) -> Block | None:
        """Make the block for base64 data; None: the data are no image and no PDF.

        Args:
            url: the data, with the declared type.
            title: the name of a document.
            expected: the type of block that the client has sent.
        """
        found = media_type(head(url.data))
        if found is None:
            return None
        kind = "document" if found == _PDF else "image"
        if kind != expected or url.media_type not in (found, *_ANY):
            self.adjustments.adjust(self.path)
        source = {"type": "base64", "media_type": found, "data": url.data.decode()}
        is_titled = kind == "document" and title
        return self.block(kind, source, title=title if is_titled else UNSET)

    def url(self, kind: str, url: str, title: str | None = None) -> Block:
        """Make the block for a URL, which the model's provider fetches.

        Raises:
            InvalidRequest: the URL is not an https URL.
        """
        if not _is_https(url):
            raise self.scheme()
        return self.block(kind, {"type": "url", "url": url}, title=title or UNSET)

    def scheme(self) -> InvalidRequest:
        """The error for a URL that is neither a data URL nor an https URL."""
        return self.refusal(
            "must be a data: URL with base64, or an https: URL, which the model's "
            "provider fetches; the proxy fetches no URL"
        )

    def refusal(self, why: str) -> InvalidRequest:
        """An error about the data."""
        return InvalidRequest(f"`{self.path}` {why}", param=self.path)


def image(url: str | None, part: Part) -> Block:
    """Translate an image to an image block; to a document block if it is a PDF.

    Args:
        url: a data URL, base64, or an https URL.
        part: the part of the message with the image.

    Raises:
        InvalidRequest: the Messages API does not accept the URL or the type of image.
    """
    url = required(url or None, part.path)
    if _is_https(url):
        return part.url("image", url)
    # Some clients send base64 without ``data:…;base64,``.
    is_bare = not has_scheme(url)
    found = read_data_url(f"data:;base64,{url}" if is_bare else url)
    block = None if found is None else part.binary(found, None, "image")
    if block is not None:
        return block
    if found is None or is_bare:
        raise part.scheme()
    raise part.refusal("is not a PNG, JPEG, GIF or WebP image; convert it to one")


def document(data_url: str, name: str | None, part: Part) -> Block:
    """Translate a PDF or a text file to a document block, an image to an image block.

    Args:
        data_url: the content of the file, as a data URL or base64.
        name: the name of the file, which the model sees as the document's title.
        part: the part of the message with the file.

    Raises:
        InvalidRequest: the file is empty, or has another type.
    """
    if not has_scheme(data_url):
        data_url = f"data:;base64,{data_url}"
    found = read_data_url(data_url)
    if found is None:
        raise part.scheme()
    block = part.binary(found, name, "document")
    if block is not None:
        return block
    text = _text(found)
    if text is None:
        raise part.refusal(
            "is neither a PDF nor a text file; the model reads no other files. Text "
            "must be in UTF-8, or in the charset that the data: URL declares"
        )
    if is_blank(text):
        raise part.refusal("is an empty file")
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return part.block("document", source, title=name or UNSET)


def _text(url: DataURL) -> str | None:
    codec = _CHARSETS.get(url.charset)
    if codec is None or _TEXT.fullmatch(url.media_type) is None:
        return None
    try:
        text = b64decode(url.data).decode(codec)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def no_uploads(file_id: str | None, at: str) -> None:
    """Check that a part does not refer to an uploaded file.

    Raises:
        UnsupportedValue: ``file_id`` is not None.
    """
    if file_id is not None:
        unsupported(at, "the proxy has no uploaded files; send the data itself")


def _is_https(url: str) -> bool:
    # `split` is several times as fast as a regular expression for the whole URL.
    return _HTTPS.match(url) is not None and url.split(maxsplit=1) == [url]


class _Source(msgspec.Struct):
    type: str
    media_type: str = ""
    data: Raw = Raw(b"")


def corrected(block: Block, adjustments: Adjustments) -> Block:
    """Correct the media type and the base64 in a block of the Messages API.

    Data that are neither an image nor a PDF are not changed: the provider's error for
    them is clearer.

    Args:
        block: a block of any type; tool results and documents can contain images.
        adjustments: records the paths of the changed fields.
    """
    match block.value:
        case Image(source) | Document(source):
            changes = _source_changes(source, block.type)
            for name in changes:
                adjustments.adjust(f"{block.at}.source.{name}")
            if block.type == "document" and b'"base64"' in bytes(source):
                changes = changes or _inner_changes(
                    source, f"{block.at}.source.content", adjustments
                )
            if changes:
                fields = msgspec.json.decode(source, type=dict[str, Raw])
                return block.replaced(source={**fields, **changes})
        case ToolResult() if b'"base64"' in block.raw:
            changes = _inner_changes(block.raw, f"{block.at}.content", adjustments)
            return block.replaced(**changes) if changes else block
    return block


class _Outer(msgspec.Struct):
    content: list[Raw]


def _inner_changes(
    raw: bytes | Raw, at: str, adjustments: Adjustments
) -> Mapping[str, object]:
    """``{"content": …}`` with corrected blocks; empty if nothing is changed."""
    try:
        parts = msgspec.json.decode(raw, type=_Outer).content
        inner = [Block.decode(part, f"{at}[{n}]") for n, part in enumerate(parts)]
    except msgspec.ValidationError:
        # The content is a text, or it is invalid, and the provider's error is clearer.
        return {}
    better = [corrected(each, adjustments) for each in inner]
    if all(each is old for each, old in zip(better, inner, strict=True)):
        return {}
    return {"content": [Raw(each.raw) for each in better]}


def _source_changes(raw: Raw, kind: str) -> Mapping[str, object]:
    """The corrected fields of a source; empty if nothing has to be changed."""
    try:
        source = msgspec.json.decode(raw, type=_Source)
        quoted = bytes(source.data)
        if source.type != "base64" or quoted[:1] != b'"':
            return {}
        given = quoted[1:-1]
        data = standard_base64(given)
        if data is None:
            # The string has JSON escapes, or is a data URL.
            text = msgspec.json.decode(quoted, type=str)
            url = read_data_url(text)
            data = standard_base64(text.encode()) if url is None else url.data
    except msgspec.ValidationError:
        return {}
    found = None if data is None else media_type(head(data))
    if data is None or found is None or (found == _PDF) != (kind == "document"):
        return {}
    changes: dict[str, object] = {}
    if source.media_type != found:
        changes["media_type"] = found
    if data != given:
        changes["data"] = data.decode()
    return changes
