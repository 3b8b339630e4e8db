"""The tokens of images and PDFs."""

import struct
import zlib
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.counting.media import image_tokens, pdf_tokens

LARGEST = 1600


def base64(data: bytes) -> bytes:
    source = {"type": "base64", "media_type": "x", "data": b64encode(data).decode()}
    return msgspec.json.encode(source)


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    size, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + size + head + check


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)


def jpeg(width: int, height: int) -> bytes:
    metadata = b"\xff\xe1" + struct.pack(">H", 2002) + bytes(2000)
    # A table of Huffman codes is no frame, although its number looks like one.
    table = b"\xff\xc4" + struct.pack(">H", 6) + b"\x11\x11\x11\x11"
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1)
    return b"\xff\xd8" + metadata + table + frame


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + rest


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", bits))


def extended(width: int, height: int) -> bytes:
    size = b"".join((n - 1).to_bytes(3, "little") for n in (width, height))
    return webp(b"VP8X", bytes(4) + size)


MAKERS = [png, gif, jpeg, lossy, lossless, extended]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    # The provider's documents have the first three.
    [(200, 200, 53), (1000, 1000, 1333), (1092, 1092, 1589), (1, 1, 1)],
)
def test_image(maker: Any, width: int, height: int, tokens: int) -> None:
    assert image_tokens(base64(maker(width, height))) == tokens


@pytest.mark.parametrize("maker", MAKERS)
def test_an_image_is_scaled_down(maker: Any) -> None:
    assert image_tokens(base64(maker(8000, 4000))) == LARGEST


@given(st.sampled_from(MAKERS), st.integers(0, 40), st.binary(max_size=20))
def test_an_image_of_unknown_size_counts_as_the_largest(
    maker: Any, kept: int, more: bytes
) -> None:
    assert 1 <= image_tokens(base64(maker(300, 300)[:kept] + more)) <= LARGEST


@pytest.mark.parametrize(
    "source",
    [
        {"type": "url", "url": "https://example.org/a.png"},
        {"type": "file", "file_id": "file_1"},
        {"type": "base64", "data": "not base64!"},
    ],
)
def test_no_data(source: dict[str, str]) -> None:
    raw = msgspec.json.encode(source)
    assert (image_tokens(raw), pdf_tokens(raw)) == (LARGEST, 0)


def test_pages() -> None:
    page = b"1 0 obj <</Type /Page /Parent 3 0 R>> endobj\n"
    pages = b"3 0 obj <</Type/Pages /Count 2>> endobj\n"
    other = page.replace(b"/Type /Page", b"/Type/Page")
    assert pdf_tokens(base64(b"%PDF-1.7\n" + pages + page + other)) == 2 * 2300
    assert pdf_tokens(base64(b"%PDF-1.7\n(all is compressed)")) == 2300
