"""Images and documents of requests as blocks of the Messages API. Pure.

The proxy fetches nothing. An https URL goes to the model's provider unchanged. Any
other URL is refused, so that no request can make a server read a file or reach into a
private network.

What some data are is read from their bytes. The type that the client declares, and
whether it calls them an image or a file, are put right and reported. How large they may
be is for the provider to say.

Source: the Messages API's image and document blocks; ``image_url`` and ``file`` parts
of chat completions, ``input_image`` and ``input_file`` of Responses.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping

import msgspec
from attrs import evolve, frozen
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.data_url import DataURL, head, read_data_url, standard_base64
from ccproxy.api.common.decoding import Adjustments, required
from ccproxy.core.blocks import Block, Document, Image, ToolResult, is_blank
from ccproxy.core.errors import InvalidRequest, unsupported

_HTTPS = re.compile(r"https://[^/?#\s][^\s]*", re.IGNORECASE)
_HAS_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_PDF = "application/pdf"
# The types that the Messages API accepts, by their first bytes.
_TYPES: Mapping[str, Callable[[bytes], bool]] = {
    "image/png": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": lambda data: data.startswith(b"\xff\xd8\xff"),
    "image/gif": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "image/webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    _PDF: lambda data: data.startswith(b"%PDF-"),
}
# Declared types that do not contradict the type in the bytes.
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
    """The media type of an image or a PDF by its first bytes; None: it is neither."""
    return next((kind for kind, matches in _TYPES.items() if matches(data)), None)


@frozen
class Part:
    """A part of a client's message.

    Attributes:
        at: its path in the request.
        field: the name of the field with the data, below ``at``.
        adjustments: receive the path of that field if the declared type is wrong.
        cache_control: the client's breakpoint behind the part.
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
        """The part as a block."""
        about = {"source": source, "cache_control": self.cache_control, **fields}
        made = Block.make(kind, at=self.at, **about)
        return evolve(made, renamed={"source": self.field})

    def binary(self, url: DataURL, title: str | None, expected: str) -> Block | None:
        """The block of an image or a PDF; None: it is neither."""
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
        """The block of what the model's provider fetches.

        Raises:
            InvalidRequest: the URL is not an https URL.
        """
        if not _is_https(url):
            raise self.scheme()
        return self.block(kind, {"type": "url", "url": url}, title=title or UNSET)

    def scheme(self) -> InvalidRequest:
        """The error for any other URL."""
        return self.refusal(
            "must be a data: URL with base64, or one of https: that the model's "
            "provider fetches; nothing is read from here"
        )

    def refusal(self, why: str) -> InvalidRequest:
        """An error about the data."""
        return InvalidRequest(f"`{self.path}` {why}", param=self.path)


def image(url: str | None, part: Part) -> Block:
    """An image block; a document block if the data are a PDF.

    Args:
        url: a data URL, base64, or a URL of https.
        part: where it is.

    Raises:
        InvalidRequest: it is nothing that the Messages API accepts.
    """
    url = required(url or None, part.path)
    if _is_https(url):
        return part.url("image", url)
    # Some clients leave out ``data:…;base64,``.
    is_bare = not _HAS_SCHEME.match(url)
    found = read_data_url(f"data:;base64,{url}" if is_bare else url)
    block = None if found is None else part.binary(found, None, "image")
    if block is not None:
        return block
    if found is None or is_bare:
        raise part.scheme()
    raise part.refusal("is no PNG, JPEG, GIF or WebP image; convert it to one")


def document(data_url: str, name: str | None, part: Part) -> Block:
    """A document block: a PDF or a text file; an image block if the data are an image.

    Args:
        data_url: the file itself, as a data URL or base64.
        name: the file's, for the model.
        part: where it is.

    Raises:
        InvalidRequest: it is nothing that the Messages API accepts.
    """
    if not _HAS_SCHEME.match(data_url):
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
            "is neither a PDF nor text in UTF-8; the model reads no other files"
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
    """Refuse a reference to an uploaded file.

    Raises:
        UnsupportedValue: there is one.
    """
    if file_id is not None:
        unsupported(at, "there are no uploaded files here; send the data itself")


def _is_https(url: str) -> bool:
    return _HTTPS.fullmatch(url) is not None


class _Source(msgspec.Struct):
    type: str
    media_type: str = ""
    data: Raw = Raw(b"")


def corrected(block: Block, adjustments: Adjustments) -> Block:
    """A client's block of the Messages API with the type that its bytes have.

    The data become standard base64. Data that are neither an image nor a PDF stay as
    they are: the provider's error explains them better.

    Args:
        block: of any type; results and documents can contain images.
        adjustments: receive the paths of what is changed.
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
    """``content`` with corrected blocks, if it has to be changed."""
    try:
        parts = msgspec.json.decode(raw, type=_Outer).content
        inner = [Block.decode(part, f"{at}[{n}]") for n, part in enumerate(parts)]
    except msgspec.ValidationError:
        # It is a text, or the provider's error explains it better.
        return {}
    better = [corrected(each, adjustments) for each in inner]
    if all(each is old for each, old in zip(better, inner, strict=True)):
        return {}
    return {"content": [Raw(each.raw) for each in better]}


def _source_changes(raw: Raw, kind: str) -> Mapping[str, object]:
    """The fields of a source that have to be changed."""
    try:
        source = msgspec.json.decode(raw, type=_Source)
        quoted = bytes(source.data)
        if source.type != "base64" or quoted[:1] != b'"':
            return {}
        given = quoted[1:-1]
        data = standard_base64(given)
        if data is None:
            # It is escaped in the JSON, or a data URL.
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
