"""The provider's refusals of tools, schemas and media, with the client's paths.

Each line is an error of the provider's, in its words as far as those are known, and the
path of the field in the client's own request.

Source: rules 28 to 40 of the Messages API.
"""

import json
from base64 import b64encode
from typing import Any

import pytest

from ccproxy.claude.body.paths import with_client_paths
from ccproxy.claude.protocol.failures import Refusal, provider_error
from ccproxy.core.errors import CCProxyError
from tests.support.composed import HAIKU_4_5
from tests.support.three_apis import API, CHAT, MESSAGES, RESPONSES, THREE, by_name

EACH = pytest.mark.parametrize("api", THREE, ids=by_name)
PNG = b64encode(b"\x89PNG\r\n\x1a\nrest").decode()
LIST = {"type": "array", "items": {}}
OBJECT: dict[str, Any] = {"type": "object", "properties": {"a": {}}}


def refused(outcome: Any, message: str) -> CCProxyError:
    """The client's error for a refusal, as the CLI reports it."""
    error = {"type": "invalid_request_error", "message": message}
    document = json.dumps({"type": "error", "error": error})
    refusal = Refusal(
        kind="invalid_request", status=400, text=f"API Error: 400 {document}"
    )
    return with_client_paths(
        provider_error(refusal), outcome.composition.body.client_path
    )


def check(outcome: Any, place: str, words: str, path: str | None) -> None:
    error = refused(outcome, f"{place}: {words}")
    assert error.param == path
    assert error.message == f"{place if path is None else path}: {words}"


SCHEMA_WORDS = "JSON schema is invalid. It must match JSON Schema draft 2020-12"


@EACH
@pytest.mark.parametrize(
    ("place", "words", "below"),
    [
        (".custom.input_schema", SCHEMA_WORDS, ""),
        (".input_schema", SCHEMA_WORDS, ""),
        (".custom.input_schema.type", "Input should be 'object'", ".type"),
        (".custom.input_schema.properties", "Property keys …", ".properties"),
        (".custom.input_schema.properties.a.0.text", "…", ".properties.a[0].text"),
    ],
)
def test_a_refused_schema_of_a_tool(
    api: API, place: str, words: str, below: str
) -> None:
    outcome = api.ask(tools=api.tools(OBJECT, OBJECT, OBJECT))
    path = api.parameters.format(2)
    check(outcome, f"tools.2{place}", words, f"{path}{below}")


NAMES = {
    "chat": "tools[1].function.name",
    "responses": "tools[1].name",
    "messages": "tools[1].name",
}


@EACH
def test_a_refused_tool(api: API) -> None:
    outcome = api.ask(tools=api.tools(OBJECT, OBJECT, strict=True))
    name = NAMES[api.name]
    place = "tools.1.custom.name"
    check(outcome, place, "String should match pattern …", name)
    strict = name.replace("name", "strict")
    check(outcome, "tools.1.custom.strict", "Extra inputs …", strict)
    tool = name.removesuffix(".name")
    check(outcome, "tools.1.custom", "Schema is too complex", tool)
    check(outcome, "tools.1", "Schema is too complex", tool)
    check(outcome, "tools", "Tool names must be unique.", "tools")
    check(outcome, "tools.7.custom.name", "is nobody's", None)


def test_a_refused_server_tool() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 0}
    outcome = MESSAGES.ask(tools=[search])
    place = "tools.0.web_search_20250305.max_uses"
    check(outcome, place, "Input should be greater than 0", "tools[0].max_uses")


@EACH
def test_a_refused_schema_of_an_answer(api: API) -> None:
    closed = {**OBJECT, "properties": {}, "additionalProperties": False}
    outcome = api.ask(**api.form(closed))
    place = "output_config.format.schema"
    words = "For 'array' type, property 'maxItems' is not supported"
    check(outcome, place, words, api.form_path)
    below = f"{api.form_path}.properties.a"
    check(outcome, f"{place}.properties.a", words, below)
    form = api.form_path.removesuffix(".json_schema.schema").removesuffix(".schema")
    check(outcome, "output_config.format", words, form)


@EACH
@pytest.mark.parametrize("schema", [OBJECT, LIST])
def test_a_refused_schema_of_the_answers_own_tool(api: API, schema: Any) -> None:
    outcome = api.ask(HAIKU_4_5, tools=api.tools(OBJECT), **api.form(schema))
    inner = ".properties.value" if schema is LIST else ""
    place = f"tools.1.custom.input_schema{inner}"
    check(outcome, place, SCHEMA_WORDS, api.form_path)
    path = f"{api.form_path}.properties.a"
    check(outcome, f"{place}.properties.a", SCHEMA_WORDS, path)


IMAGE_WORDS = [
    ("source.base64", "image exceeds 5 MB maximum: 5316852 bytes > 5242880 bytes"),
    (
        "source.base64.data",
        "At least one of the image dimensions exceed max allowed size: 8000 pixels",
    ),
    (
        "source.base64.data",
        "At least one of the image dimensions exceed max allowed size for many-image "
        "requests: 2000 pixels",
    ),
    ("source.base64.data", "Could not process image"),
    ("source.base64.media_type", "Input should be 'image/jpeg', 'image/png' …"),
    ("source.url.url", "Unable to download the file"),
    ("source", "Field required"),
]


@EACH
@pytest.mark.parametrize(("place", "words"), IMAGE_WORDS)
def test_a_refused_image(api: API, place: str, words: str) -> None:
    image, blank = api.image("image/png", PNG), api.text(" ")
    below = place.removeprefix("source").replace(".base64", "").replace(".url", "", 1)
    path = api.source if api is not MESSAGES else f"source{below}"
    outcome = api.ask(**api.user(api.text("see"), blank, image))
    where = f"messages.0.content.1.image.{place}"
    check(outcome, where, words, f"{api.part.format(2)}.{path}")
    # A blank text is left out, and the image is the first there.
    outcome = api.ask(**api.result(blank, image))
    where = f"messages.2.content.0.tool_result.content.0.image.{place}"
    check(outcome, where, words, f"{api.result_part.format(1)}.{path}")


PDF_WORDS = [
    "A maximum of 100 PDF pages may be provided.",
    "The PDF specified was not valid.",
    "The PDF specified is password protected.",
]
PDF = b64encode(b"%PDF-1.4 rest").decode()
FILES = {
    "chat": ({"type": "file", "file": {"file_data": PDF}}, "file.file_data"),
    "responses": ({"type": "input_file", "file_data": PDF}, "file_data"),
    "messages": (
        {
            "type": "document",
            "source": {
                "type": "base64",
                "media_type": "application/pdf",
                "data": PDF,
            },
        },
        "source.data",
    ),
}


@EACH
@pytest.mark.parametrize("words", PDF_WORDS)
@pytest.mark.parametrize("tag", ["pdf", "document"])
def test_a_refused_document(api: API, words: str, tag: str) -> None:
    part, path = FILES[api.name]
    outcome = api.ask(**api.user(part, api.text("see")))
    place = f"messages.0.content.0.{tag}.source.base64.data"
    check(outcome, place, words, f"{api.part.format(0)}.{path}")


@EACH
def test_refusals_without_a_place_stay_as_they_are(api: API) -> None:
    for words in ("Could not process image", "Too many images and documents: 101"):
        error = refused(api.ask(), words)
        assert (error.param, error.message) == (None, words)


@pytest.mark.parametrize(
    ("api", "path"),
    [(CHAT, "messages"), (RESPONSES, "input"), (MESSAGES, "messages")],
    ids=["chat", "responses", "messages"],
)
def test_a_refusal_of_the_whole_conversation(api: API, path: str) -> None:
    check(api.ask(), "messages", "at least one message is required", path)
