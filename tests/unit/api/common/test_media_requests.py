"""Images and files in requests: limits, names, and the Responses API."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.common import media
from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import context_of, request_of
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.blocks import Block
from ccproxy.core.errors import ClientError
from ccproxy.core.messages import Adjustments
from tests.support.requests import told_content

SEAL = Encryptor(new_key())
MAGIC = b"\x89PNG\r\n\x1a\n"


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


PNG = data_url("image/png", MAGIC)
BLOCK = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": b64encode(MAGIC).decode(),
    },
}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


def asked(*items: Any) -> list[Any]:
    """The contents of the messages."""
    call = decode_responses(json.dumps({"input": items}).encode())
    request = request_of(call, context_of(call, (), {}), SEAL).request
    return [told_content(message) for message in request.messages]


def image(url: str) -> Block:
    return media.image(url, part())


def part() -> media.Part:
    return media.Part("x", "", Adjustments())


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def output(*parts: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c", "output": list(parts)}


def test_older_gif_and_wave_sound() -> None:
    found = json.loads(image(data_url("image/gif", b"GIF87a")).raw)
    assert found["source"]["media_type"] == "image/gif"
    with pytest.raises(ClientError):
        image(data_url("image/webp", b"RIFF\0\0\0\0WAVE"))


def test_scheme_is_of_either_case() -> None:
    assert json.loads(image(PNG.replace("data:", "DATA:")).raw) == BLOCK


@pytest.mark.parametrize("url", ["https://", "https:///a.png"])
def test_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(ClientError):
        image(url)


@pytest.mark.parametrize("text", ["", "\ufeff", "\ufeff\ufeff", " \ufeff\n"])
def test_blank_file_is_refused(text: str) -> None:
    with pytest.raises(ClientError):
        media.document(data_url("text/plain", text.encode()), None, part())


def test_empty_name_is_none() -> None:
    found = media.document(data_url("text/plain", b"a"), "", part())
    assert "title" not in found.fields


def test_parts_of_responses_keep_their_order() -> None:
    [content] = asked(
        user(
            {"type": "input_text", "text": "one"},
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
            {"type": "input_text", "text": "two"},
            {"type": "input_file", "file_url": "https://h/a.pdf"},
        )
    )
    source = {"type": "url", "url": "https://h/a.pdf"}
    assert content == [
        *(text("one"), BLOCK, text("two")),
        {"type": "document", "source": source},
    ]


def test_output_of_a_function_may_be_an_image() -> None:
    image = {"type": "input_image", "image_url": PNG}
    *_, result = asked(user({"type": "input_text", "text": "go"}), CALL, output(image))
    assert result == [{"type": "tool_result", "tool_use_id": "c", "content": [BLOCK]}]


BAD_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "input_image"}, "image_url"),
    ({"type": "input_image", "image_url": "ftp://h/a"}, "image_url"),
    ({"type": "input_image", "file_id": "f"}, "file_id"),
    ({"type": "input_file"}, "file_data"),
    (
        {"type": "input_file", "file_data": "data:application/zip;base64,UEs="},
        "file_data",
    ),
    ({"type": "input_file", "file_url": "http://h/a.pdf"}, "file_url"),
    ({"type": "input_file", "file_id": "f"}, "file_id"),
    ({"type": "input_audio"}, "type"),
]


@pytest.mark.parametrize(("part", "field"), BAD_PARTS)
def test_path_of_an_error_in_responses(part: dict[str, Any], field: str) -> None:
    with pytest.raises(ClientError) as caught:
        asked(user({"type": "input_text", "text": "x"}, part))
    assert caught.value.param == f"input[0].content[1].{field}"


def test_path_of_an_error_in_an_output() -> None:
    bad = {"type": "input_image", "image_url": "ftp://h/a"}
    with pytest.raises(ClientError) as caught:
        asked(user({"type": "input_text", "text": "go"}), CALL, output(bad))
    assert caught.value.param == "input[2].output[0].image_url"


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_images_of_responses_are_the_users(role: str) -> None:
    image = {"type": "input_image", "image_url": PNG}
    with pytest.raises(ClientError) as caught:
        asked({"role": role, "content": [image]}, user())
    assert caught.value.param == "input[0].content[0].type"


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ({}, "file_data"),
        ({"file_id": "f"}, "file_id"),
        ({"file_data": "!"}, "file_data"),
    ],
)
def test_path_of_an_error_in_a_chat_file(file: dict[str, str], field: str) -> None:
    body = {"messages": [user({"type": "file", "file": file})]}
    with pytest.raises(ClientError) as caught:
        decode_chat(json.dumps(body).encode())
    assert caught.value.param == f"messages[0].content[0].file.{field}"


@given(st.text(max_size=60), st.sampled_from(["image_url", "file_data", "file_url"]))
def test_anything_in_responses_is_a_turn_or_a_clear_error(data: str, name: str) -> None:
    kind = "input_image" if name == "image_url" else "input_file"
    try:
        [content] = asked(user({"type": kind, name: data}))
    except ClientError as error:
        assert error.param is not None
        assert error.param.startswith("input[0].content[0].")
    else:
        assert len(content) == 1
