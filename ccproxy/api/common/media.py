"""Images and documents of requests as blocks of the Messages API. Pure.

The proxy fetches nothing. An https URL goes to the model's provider unchanged. Any
other URL is refused, so that no request can make a server read a file or reach into a
private network.

Source: the Messages API's image and document blocks and their limits; ``image_url``
and ``file`` parts of chat completions, ``input_image`` and ``input_file`` of Responses.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping

from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.decoding import Adjustments, required
from ccproxy.core.errors import InvalidRequest, unsupported
from ccproxy.core.messages import Block, is_blank

_DATA_URL = re.compile(
    r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),(?P<data>.*)",
    re.DOTALL | re.IGNORECASE,
)
_HTTPS = re.compile(r"https://[^/?#\s][^\s]*", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")
_PDF = "application/pdf"
# The image types that the Messages API accepts, by their first bytes.
_IMAGES: Mapping[str, Callable[[bytes], bool]] = {
    "image/png": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": lambda data: data.startswith(b"\xff\xd8\xff"),
    "image/gif": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "image/webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
}
# Declared types that do not contradict the type in the bytes.
_ANY_IMAGE = ("", "image/jpg", "application/octet-stream")
# Other declared types under which clients send text.
_TEXT_TYPES = ("", "application/octet-stream", "application/json", "application/xml")


def image_type(data: bytes) -> str | None:
    """The media type of an image by its first bytes; None: it is not an image."""
    return next((kind for kind, looks in _IMAGES.items() if looks(data)), None)


def image(
    url: str | None,
    at: str,
    adjustments: Adjustments,
    cache_control: Raw | UnsetType = UNSET,
) -> Block:
    """An image block.

    The media type is read from the bytes; the type that the client declares is ignored.

    Args:
        url: a data URL, or one of https.
        at: its path in the request.
        adjustments: get the path if the declared type is wrong.
        cache_control: the client's breakpoint at the block.

    Raises:
        InvalidRequest: it is not an image that the Messages API accepts.
    """
    url = required(url or None, at)
    if _is_https(url):
        return Block.make("image", at=at, source=_url(url), cache_control=cache_control)
    declared, encoded, data = _data(url, at)
    found = image_type(data)
    if found is None:
        raise InvalidRequest(
            f"`{at}` is not a PNG, JPEG, GIF or WebP image; convert it", param=at
        )
    if declared != found and declared not in _ANY_IMAGE:
        adjustments.adjust(at)
    return Block.make(
        "image", at=at, source=_base64(found, encoded), cache_control=cache_control
    )


def document(
    data_url: str | None,
    url: str | None,
    name: str | None,
    at: str,
    *,
    url_at: str | None = None,
    cache_control: Raw | UnsetType = UNSET,
) -> Block:
    """A document block: a PDF or a text file.

    Args:
        data_url: the file itself, as a data URL or base64.
        url: where the model's provider finds a PDF, by https.
        name: the file's name, for the model.
        at: the path of ``data_url`` in the request.
        url_at: the path of ``url``.
        cache_control: the client's breakpoint at the block.

    Raises:
        InvalidRequest: it is not a document that the Messages API accepts.
    """
    required(data_url or url or None, at)
    about = {"title": name or UNSET, "cache_control": cache_control}
    if not data_url:
        where = url_at or at
        if not _is_https(url or ""):
            raise _scheme(where)
        source = _url(url or "")
        return Block.make("document", at=where, source=source, **about)
    if data_url[:5].lower() != "data:":
        if ":" in data_url[:20]:
            raise _scheme(at)
        # Some clients leave out ``data:…;base64,``.
        data_url = f"data:;base64,{data_url}"
    declared, encoded, data = _data(data_url, at)
    if data.startswith(b"%PDF-"):
        source = _base64(_PDF, encoded)
        return Block.make("document", at=at, source=source, **about)
    is_text = declared.startswith("text/") or declared in _TEXT_TYPES
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        is_text = False
        text = ""
    if declared == _PDF or not is_text or "\0" in text:
        raise InvalidRequest(
            f"`{at}` is neither a PDF nor text in UTF-8; the model reads no other "
            "files",
            param=at,
        )
    if is_blank(text):
        raise InvalidRequest(f"`{at}` is an empty file", param=at)
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return Block.make("document", at=at, source=source, **about)


def no_uploads(file_id: str | None, at: str) -> None:
    """Refuse a reference to an uploaded file.

    Raises:
        UnsupportedValue: there is one.
    """
    if file_id is not None:
        unsupported(at, "there are no uploaded files here; send the data itself")


def _is_https(url: str) -> bool:
    return _HTTPS.fullmatch(url) is not None


def _scheme(at: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{at}` must be a data: URL, or one of https: that the model's provider "
        "fetches; the proxy itself reads no files",
        param=at,
    )


def _url(url: str) -> dict[str, str]:
    return {"type": "url", "url": url}


def _base64(media_type: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": data}


def _data(url: str, at: str) -> tuple[str, str, bytes]:
    """The declared type of a data URL, its base64, and the decoded bytes."""
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise _scheme(at)
    if not match["parameters"].lower().endswith(";base64"):
        raise InvalidRequest(f"`{at}`: a data: URL has to be base64", param=at)
    encoded = _BLANKS.sub("", match["data"]).rstrip("=")
    padded = encoded + "=" * (-len(encoded) % 4)
    try:
        data = b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"`{at}` is not valid base64", param=at) from None
    return match["type"].strip().lower(), padded, data
