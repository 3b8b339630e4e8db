"""Images and files in all APIs: what their bytes are is what goes up."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.three_apis import (
    API,
    CHAT,
    MESSAGES,
    RESPONSES,
    THREE,
    Outcome,
    by_name,
)

EACH = pytest.mark.parametrize("api", THREE, ids=by_name)
BYTES = {
    "image/png": b"\x89PNG\r\n\x1a\n\xfb\xff\xbf",
    "image/jpeg": b"\xff\xd8\xff\xe0rest",
    "image/gif": b"GIF89a\1\0\1\0",
    "image/webp": b"RIFF\0\0\0\0WEBPrest",
}
PDF = b"%PDF-1.7 rest"


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def source(kind: str, data: bytes) -> Mapping[str, str]:
    return {"type": "base64", "media_type": kind, "data": encoded(data)}


def asked(api: API, is_result: bool, parts: Sequence[Any]) -> Outcome:
    """A conversation that ends with these parts, of the user or of a result."""
    if not is_result:
        return api.ask(**api.user(*parts))
    return api.ask(**api.result(*parts), tools=api.tools({"type": "object"}))


@EACH
@pytest.mark.parametrize("is_result", [False, True], ids=["user", "result"])
@pytest.mark.parametrize("declared", ["image/png", "image/jpeg", "IMAGE/PNG", "a/b"])
def test_a_wrong_type_is_put_right_and_named(
    api: API, declared: str, is_result: bool
) -> None:
    images = [api.image(declared, encoded(data)) for data in BYTES.values()]
    outcome = asked(api, is_result, images)
    content = outcome.body["messages"][-1]["content"]
    if is_result:
        content = content[0]["content"]
    found = [{k: v for k, v in b.items() if k != "cache_control"} for b in content]
    assert found == [
        {"type": "image", "source": source(kind, data)} for kind, data in BYTES.items()
    ]
    part = api.result_part if is_result else api.part
    field = ".media_type" if api is MESSAGES else ""
    # In a data URL the case of a type has no meaning.
    told = declared if api is MESSAGES else declared.lower()
    assert outcome.named == {
        f"{part.format(n)}.{api.source}{field}"
        for n, kind in enumerate(BYTES)
        if kind != told
    }
    assert outcome.refusals == []


def test_an_image_within_a_document_gets_the_type_of_its_bytes() -> None:
    [(kind, data), *_] = BYTES.items()

    def document(declared: str) -> dict[str, Any]:
        part = {"type": "image", "source": source(declared, data)}
        about = {"type": "content", "content": [{"type": "text", "text": "a"}, part]}
        return {"type": "document", "source": about}

    outcome = MESSAGES.ask(**MESSAGES.user(document("image/gif"), MESSAGES.text("b")))
    [sent, _] = outcome.body["messages"][0]["content"]
    assert sent == document(kind)
    assert outcome.named == {
        "messages[0].content[0].source.content[1].source.media_type"
    }


@EACH
@pytest.mark.parametrize("is_result", [False, True], ids=["user", "result"])
def test_base64_goes_up_in_its_standard_form(api: API, is_result: bool) -> None:
    """Padded, in the standard alphabet, without white space and ``data:``."""
    data = BYTES["image/png"]
    plain = encoded(data)
    given = [
        plain.rstrip("="),
        urlsafe_b64encode(data).decode(),
        f" {plain[:5]}\n{plain[5:]}",
        plain.replace("+", "%2B").replace("/", "%2F"),
    ]
    if api is MESSAGES:
        given.append(f"data:image/png;base64,{plain}")
    images = [api.image("image/png", text) for text in given]
    outcome = asked(api, is_result, images)
    content = outcome.body["messages"][-1]["content"]
    blocks = content[0]["content"] if is_result else content
    assert [b["source"] for b in blocks] == [source("image/png", data)] * len(given)
    part = api.result_part if is_result else api.part
    # In the other APIs base64 is only the wrapping of a URL.
    named = {f"{part.format(n)}.source.data" for n in range(len(given))}
    assert outcome.named == (named if api is MESSAGES else set())


def test_the_messages_apis_blocks_stay_as_they_are() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "image", "source": source("image/png", BYTES["image/png"])},
        # The provider's errors explain these better.
        {"type": "image", "source": source("image/png", b"no image")},
        {"type": "image", "source": source("application/pdf", PDF)},
        {"type": "document", "source": source("image/png", BYTES["image/png"])},
        {"type": "image", "source": {"type": "base64", "data": "!"}},
        {"type": "image", "source": {"type": "base64", "media_type": 7, "data": 7}},
        {"type": "image", "source": {"type": "url", "url": "https://a/b"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "image", "source": 7},
        {"type": "document", "source": {"type": "text", "data": "a"}},
        {"type": "document", "source": source("application/pdf", PDF), "title": "a"},
    ]
    outcome = MESSAGES.ask(**MESSAGES.user(*blocks))
    content = outcome.body["messages"][0]["content"]
    content[-1].pop("cache_control")
    assert content == blocks
    assert outcome.named == set()


def test_a_pdf_of_the_messages_api_gets_its_type() -> None:
    block = {"type": "document", "source": source("text/plain", PDF), "title": "a"}
    outcome = MESSAGES.ask(**MESSAGES.user(block, MESSAGES.text("see")))
    sent = outcome.body["messages"][0]["content"][0]
    assert sent == {**block, "source": source("application/pdf", PDF)}
    assert outcome.named == {"messages[0].content[0].source.media_type"}


FILES = {
    "chat": lambda url: {"type": "file", "file": {"filename": "a", "file_data": url}},
    "responses": lambda url: {
        "type": "input_file",
        "filename": "a",
        "file_data": url,
    },
}
FILE_FIELDS = {"chat": "file.file_data", "responses": "file_data"}


@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=by_name)
def test_an_image_called_a_file_and_a_pdf_called_an_image(api: API) -> None:
    png = BYTES["image/png"]
    file = FILES[api.name](f"data:image/png;base64,{encoded(png)}")
    pdf = api.image("application/pdf", encoded(PDF))
    outcome = api.ask(**api.user(file, pdf))
    assert outcome.body["messages"][0]["content"] == [
        {"type": "image", "source": source("image/png", png)},
        {
            "type": "document",
            "source": source("application/pdf", PDF),
            "cache_control": {"type": "ephemeral"},
        },
    ]
    assert outcome.named == {
        f"{api.part.format(0)}.{FILE_FIELDS[api.name]}",
        f"{api.part.format(1)}.{api.source}",
    }


@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=by_name)
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("data:text/plain;charset=iso-8859-1;base64,6Q==", "é"),
        ("data:text/plain;charset=utf-16;base64,//7pAA==", "é"),
        ("data:application/x-yaml;base64,YTogMQ==", "a: 1"),
        ("data:application/ld+json;base64,e30=", "{}"),
        ("data:text/plain,a%20b", "a b"),
    ],
)
def test_text_in_any_of_its_forms(api: API, url: str, text: str) -> None:
    outcome = api.ask(**api.user(FILES[api.name](url), api.text("see")))
    [document, _] = outcome.body["messages"][0]["content"]
    assert document["source"]["data"] == text
    assert outcome.named == set()


@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=by_name)
def test_bare_base64_is_an_image_too(api: API) -> None:
    png = BYTES["image/png"]
    part = api.image("", "")
    if api is CHAT:
        part["image_url"]["url"] = encoded(png)
    else:
        part["image_url"] = encoded(png)
    outcome = api.ask(**api.user(part))
    assert outcome.body["messages"][0]["content"][0]["source"]["data"] == encoded(png)


@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=by_name)
@pytest.mark.parametrize("detail", ["auto", "low", "high"])
def test_a_detail_of_an_image_is_named(api: API, detail: str) -> None:
    part = api.image("image/png", encoded(BYTES["image/png"]))
    place = part["image_url"] if api is CHAT else part
    place["detail"] = detail
    field = "image_url.detail" if api is CHAT else "detail"
    named = set() if detail == "auto" else {f"{api.part.format(0)}.{field}"}
    assert api.ask(**api.user(part)).named == named
