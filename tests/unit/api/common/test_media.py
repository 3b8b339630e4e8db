"""Images and files of clients, translated to blocks of the Messages API."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.common import media
from ccproxy.core.blocks import Block
from ccproxy.core.errors import ClientError, UnsupportedValue
from ccproxy.core.messages import Adjustments
from tests.support.requests import told_content

IMAGES = {
    "image/png": b"\x89PNG\r\n\x1a\nrest",
    "image/jpeg": b"\xff\xd8\xff\xe0rest",
    "image/gif": b"GIF89arest",
    "image/webp": b"RIFF\0\0\0\0WEBPrest",
}


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def image(url: str | None, at: str = "x") -> Block:
    return media.image(url, part(at))


def part(at: str, adjustments: Adjustments | None = None) -> media.Part:
    """A part that is the data."""
    return media.Part(at, "", adjustments or Adjustments())


def document(data: str, name: str | None = None, at: str = "x") -> Block:
    return media.document(data, name, part(at))


def told(block: Block) -> Any:
    return json.loads(block.raw)


def base64(kind: str, data: bytes) -> dict[str, str]:
    encoded = b64encode(data).decode()
    return {"type": "base64", "media_type": kind, "data": encoded}


def image_block(kind: str, data: bytes) -> dict[str, Any]:
    return {"type": "image", "source": base64(kind, data)}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize(
    "declared", [None, "", "application/octet-stream", "image/bmp", "text/plain"]
)
def test_image_is_what_its_bytes_say(kind: str, declared: str | None) -> None:
    data = IMAGES[kind]
    adjustments = Adjustments()
    url = data_url(kind if declared is None else declared, data)
    block = media.image(url, part("x", adjustments))
    assert told(block) == image_block(kind, data)
    assert block.at == "x"
    is_wrong = declared in ("image/bmp", "text/plain")
    assert adjustments.adjusted == (("x",) if is_wrong else ())


def test_png_declared_jpeg_is_sent_as_what_it_is() -> None:
    url = data_url("image/jpeg", IMAGES["image/png"])
    part = {"type": "image_url", "image_url": {"url": url}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    call = decode_chat(json.dumps(body).encode())
    assert told_content(call.request.messages[0]) == [
        image_block("image/png", IMAGES["image/png"])
    ]
    assert call.adjusted == ("messages[0].content[0].image_url.url",)


def test_url_of_https_goes_upstream_as_it_is() -> None:
    url = "https://example.org/a.png?b=c#d"
    source = {"type": "url", "url": url}
    assert told(image(url)) == {"type": "image", "source": source}
    assert told(part("x").url("document", url, "a.pdf")) == {
        "type": "document",
        "source": source,
        "title": "a.pdf",
    }


def test_base64_may_be_broken_into_lines_and_unpadded() -> None:
    data = IMAGES["image/png"] + b"!"
    encoded = b64encode(data).decode()
    broken = f"data:image/png;base64,{encoded[:7]}\r\n {encoded[7:]}".rstrip("=")
    assert told(image(broken)) == image_block("image/png", data)


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "http://example.org/a.png", "ftp://h/a", "/etc/passwd"),
        *("a.png", "javascript:1", "https://a b", "data:image/png,plain", "data:"),
        "data:image/png;base64,!!!!",
        "data:image/png;base64,iVBORw0KGgoAAAANé",
        data_url("image/png", b"no image"),
        data_url("image/svg+xml", b"<svg/>"),
    ],
)
def test_what_is_no_image_is_refused(url: str) -> None:
    with pytest.raises(ClientError) as caught:
        image(url, "messages[0].content[1].image_url.url")
    assert caught.value.param == "messages[0].content[1].image_url.url"
    assert len(caught.value.message) < 300


def test_how_large_an_image_may_be_is_the_providers_to_say() -> None:
    data = IMAGES["image/png"] + bytes(6 * 2**20)
    assert told(image(data_url("image/png", data))) == image_block("image/png", data)


def text_source(text: str) -> dict[str, str]:
    return {"type": "text", "media_type": "text/plain", "data": text}


PDF = b"%PDF-1.4 \xff\xfe"


@pytest.mark.parametrize(
    ("kind", "data", "source"),
    [
        ("application/pdf", PDF, base64("application/pdf", PDF)),
        ("", PDF, base64("application/pdf", PDF)),
        ("text/plain", b"hello\n", text_source("hello\n")),
        ("text/x-python", "é = 1".encode(), text_source("é = 1")),
        ("application/json", b"{}", text_source("{}")),
        ("text/csv", b"\xef\xbb\xbfa,b", text_source("a,b")),
    ],
)
def test_file_is_a_document(kind: str, data: bytes, source: dict[str, str]) -> None:
    found = document(data_url(kind, data), "name")
    assert told(found) == {"type": "document", "source": source, "title": "name"}


def test_bare_base64_is_a_file_too() -> None:
    found = document(b64encode(PDF).decode())
    assert told(found) == {
        "type": "document",
        "source": base64("application/pdf", PDF),
    }


@pytest.mark.parametrize(
    "data",
    [
        *("", "file:///etc/passwd", "http://example.org/a.pdf", "not base64!"),
        data_url("application/pdf", b"no PDF"),
        data_url("text/plain", b"\xff\xfe\0"),
        data_url("text/plain", b"a\0b"),
        data_url("text/plain", b" \n"),
        data_url("text/plain;charset=klingon", b"a"),
        data_url("application/zip", b"PK text all the same"),
    ],
)
def test_what_is_no_document_is_refused(data: str) -> None:
    with pytest.raises(ClientError) as caught:
        document(data, at="messages[0]")
    assert caught.value.param == "messages[0]"


def test_there_are_no_uploads() -> None:
    media.no_uploads(None, "x")
    with pytest.raises(UnsupportedValue):
        media.no_uploads("file-1", "x")


text = st.text(max_size=60)


@given(
    st.one_of(
        text,
        text.map(lambda t: f"data:{t}"),
        st.binary().map(lambda data: data_url("image/png", data)),
    )
)
def test_anything_is_a_block_or_a_clear_error(value: str) -> None:
    makers: list[Callable[[], Block]] = [
        lambda: image(value, "at"),
        lambda: document(value, at="at"),
        lambda: part("at").url("document", value),
    ]
    for make in makers:
        try:
            block = make()
        except ClientError as error:
            assert error.message
            assert error.param == "at"
        else:
            assert told(block)["source"]


# In chat completions


def decode(*messages: Any) -> list[Any]:
    """The contents of the messages."""
    request = decode_chat(json.dumps({"messages": messages}).encode()).request
    return [told_content(message) for message in request.messages]


PNG = data_url("image/png", IMAGES["image/png"])
IMAGE = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
BLOCK = image_block("image/png", IMAGES["image/png"])


def test_parts_keep_their_order() -> None:
    words = [{"type": "text", "text": "one"}, IMAGE, {"type": "text", "text": "two"}]
    file = {"file_data": data_url("text/plain", b"@/etc/hostname"), "filename": "a"}
    parts = [*words, {"type": "file", "file": file}]
    [content] = decode({"role": "user", "content": parts})
    assert content == [
        {"type": "text", "text": "one"},
        BLOCK,
        {"type": "text", "text": "two"},
        {
            "type": "document",
            "source": text_source("@/etc/hostname"),
            "title": "a",
        },
    ]


def test_image_alone_is_something_to_ask() -> None:
    assert decode({"role": "user", "content": [IMAGE]}) == [[BLOCK]]


def test_result_of_a_tool_may_be_an_image() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    blank = {"type": "text", "text": " "}
    *_, result = decode(
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": "c",
            "content": [{"type": "text", "text": "see"}, blank, IMAGE],
        },
    )
    content = [{"type": "text", "text": "see"}, BLOCK]
    assert result == [{"type": "tool_result", "tool_use_id": "c", "content": content}]


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_images_are_the_users(role: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode({"role": role, "content": [IMAGE]}, {"role": "user", "content": "x"})
    assert caught.value.param == "messages[0].content[0].type"


def test_path_of_an_error_is_the_clients() -> None:
    bad = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
    with pytest.raises(ClientError) as caught:
        decode({"role": "user", "content": [{"type": "text", "text": "x"}, bad]})
    assert caught.value.param == "messages[0].content[1].image_url.url"
