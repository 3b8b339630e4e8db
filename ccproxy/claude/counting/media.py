"""The tokens of images and PDFs, from their size. Pure.

Source: the provider's documents: an image has width x height / 750 tokens, in pixels,
and is scaled down to about 1,600 tokens; a page of a PDF has 1,500 to 3,000.
"""

import re
import struct
from base64 import b64decode
from binascii import Error

import msgspec
from msgspec import Raw

_PIXELS_PER_TOKEN = 750
_LARGEST_IMAGE = 1_600
_PAGE = 2_300
# The object of a page; `/Pages` is the tree of the pages.
_PAGE_OBJECT = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
# The start of a JPEG segment with the size of the image: SOF0 to SOF15, without DHT,
# JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# The sizes are in the first bytes, but a JPEG may have metadata before them.
_HEAD_CHARACTERS = 2**18


class _Source(msgspec.Struct):
    type: str = ""
    data: str = ""
    media_type: str = ""


def image_tokens(source: Raw | bytes) -> int:
    """The tokens of an image with this ``source``.

    An image whose size is not known, such as a URL, counts as the largest.
    """
    data = _base64(msgspec.json.decode(source, type=_Source), _HEAD_CHARACTERS)
    size = _size(data)
    if size is None:
        return _LARGEST_IMAGE
    width, height = size
    return min(max(1, width * height // _PIXELS_PER_TOKEN), _LARGEST_IMAGE)


def pdf_tokens(source: Raw | bytes) -> int:
    """The tokens of a PDF with this ``source``; 0 if it is a URL or a file.

    Pages within compressed objects are not seen. A PDF has one page at least.
    """
    data = _base64(msgspec.json.decode(source, type=_Source))
    return max(1, len(_PAGE_OBJECT.findall(data))) * _PAGE if data else 0


def _base64(source: _Source, characters: int | None = None) -> bytes:
    if source.type != "base64":
        return b""
    try:
        return b64decode(source.data[:characters])
    except (Error, ValueError):
        return b""


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None: not known."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
        elif data.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack("<HH", data[6:10])
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        elif data.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return width, height


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while data[place] == 0xFF:
        if data[place + 1] in _FRAMES:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        place += 2 + length
    return None
