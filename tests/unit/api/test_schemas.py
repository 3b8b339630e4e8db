"""Schemas of tools and answers in all APIs: they go up as they came, or are named.

The schemas are those of the JSON Schema Test Suite.

Source: rules 31 and 38 of the Messages API; the metaschema of draft 2020-12.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ccproxy.claude.schemas.upgrade import upgraded
from ccproxy.core.errors import ClientError
from tests.support.comparison import printed
from tests.support.composed import HAIKU_4_5
from tests.support.json_schema import is_schema
from tests.support.three_apis import (
    API,
    CHAT,
    MESSAGES,
    RESPONSES,
    THREE,
    Outcome,
    by_name,
)

pytestmark = pytest.mark.exhaustive

SPEC = Path(__file__).parents[2] / "spec" / "json-schema-suite.json"
SUITE: list[dict[str, Any]] = json.loads(SPEC.read_text())
# How the CLI prints a number with an exponent cannot be said without printing it.
SCHEMAS = [s for s in (g["schema"] for g in SUITE) if "e-0" not in json.dumps(s)]
COMBINED = {"anyOf", "oneOf", "allOf"}
# Words of older drafts that the newest ignores.
LOST = ('"$recursiveRef"', '"id": "#')
EACH = pytest.mark.parametrize("api", THREE, ids=by_name)


@cache
def sound() -> list[bool]:
    """Whether each is of draft 2020-12, in words that mean something there."""
    return [
        is_schema(schema) and not any(word in json.dumps(schema) for word in LOST)
        for schema in SCHEMAS
    ]


def is_printed_alike(schema: Any) -> bool:
    """Whether the CLI prints the numbers of a schema as they came."""
    return json.dumps(printed(schema)) == json.dumps(schema)


def assert_taken(outcome: Outcome, api: API) -> None:
    """The provider takes the body, but for names that no word of the proxy's mends."""
    # The other APIs send the same, and each check takes milliseconds.
    if api is MESSAGES:
        assert [r for r in outcome.refusals if "Property keys" not in r] == []


@EACH
def test_a_tools_schema_goes_up_as_it_came_or_is_named(api: API) -> None:
    given = [{"type": "object", "properties": {"a": s}} for s in SCHEMAS]
    outcome = api.ask(tools=api.tools(*given))
    sent = [tool["input_schema"] for tool in outcome.body["tools"]]
    for n, schema in enumerate(given):
        is_named = api.parameters.format(n) in outcome.named
        is_sound = sound()[n]
        assert is_named is not (is_sound and is_printed_alike(schema)), schema
        assert (sent[n] == schema) is is_sound, schema
    if api is MESSAGES:
        # The other APIs send the same.
        others = [each.ask(tools=each.tools(*given)) for each in (CHAT, RESPONSES)]
        for other in others:
            assert other.body["tools"] == outcome.body["tools"]
        assert_taken(outcome, api)


@EACH
def test_a_schema_at_the_root_goes_up_as_it_came_or_is_named(api: API) -> None:
    refused = 0
    for schema, is_sound in zip(SCHEMAS, sound(), strict=True):
        kind = schema.get("type", "object") if isinstance(schema, dict) else None
        path = api.parameters.format(0)
        try:
            outcome = api.ask(tools=api.tools(schema))
        except ClientError as error:
            names = schema.get("properties", {}) if kind == "object" else {}
            assert "object" not in (kind or ()) or any(
                not name.isidentifier() or len(name) > 64 for name in names
            )
            assert error.param in (path, f"{path}.properties")
            refused += 1
            continue
        [tool] = outcome.body["tools"]
        is_kept = is_sound and kind == schema.get("type")
        is_kept &= COMBINED.isdisjoint(schema) and kind == "object"
        assert (tool["input_schema"] == schema) is is_kept, schema
        assert (path in outcome.named) is not (is_kept and is_printed_alike(schema))
        assert tool["input_schema"]["type"] == "object"
        if COMBINED & schema.keys():
            exact = tool["description"].partition("JSON Schema: ")[2]
            assert json.loads(exact) == schema
        assert_taken(outcome, api)
    assert 0 < refused < len(SCHEMAS) / 2


OLDER = [group for group in SUITE if "tests" in group]


def test_older_words_are_rewritten_without_loss() -> None:
    assert len(OLDER) > 90
    for group in OLDER:
        if "base URI change" in group["description"]:
            # The identifiers of draft 4 are no words of draft 2020-12.
            continue
        newer = upgraded(group["schema"])
        assert is_schema(newer)
        for test in group["tests"]:
            is_valid = Draft202012Validator(newer).is_valid(test["data"])
            assert is_valid is test["valid"], (group, newer, test)


def test_newer_words_stay() -> None:
    for group in SUITE:
        if group["draft"] == "draft2020-12":
            assert upgraded(group["schema"]) is group["schema"]


@EACH
def test_the_schema_of_an_answer_goes_up_or_is_named(api: API) -> None:
    """By the provider's own format, or as the arguments of the proxy's tool."""
    ways = set()
    for schema in SCHEMAS:
        try:
            outcome = api.ask(**api.form(schema))
        except ClientError as error:
            assert not isinstance(schema, dict)
            assert error.param in (api.form_path, api.form_path.rpartition(".")[0])
            continue
        config = outcome.body["output_config"]
        sent = config.get("format", {}).get("schema")
        ways.add(sent is None)
        plan = outcome.composition.plan
        check = plan.format_schema if sent else plan.answer_tool.schema  # type: ignore[union-attr]
        assert json.loads(check or b"") == schema
        is_kept = sent == schema and is_printed_alike(schema)
        is_named = any(api.form_path.startswith(path) for path in outcome.named)
        assert is_named is not is_kept, schema
        assert_taken(outcome, api)
    assert ways == {True, False}


ARRAY = {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {}}}


@EACH
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"enum": ["a", 1, None]},
        {"type": ["string", "null"]},
        {"const": "a"},
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "null"}}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
    ],
)
def test_an_answer_may_be_any_value(api: API, schema: dict[str, Any]) -> None:
    outcome = api.ask(**api.form(schema))
    assert outcome.body["output_config"]["format"]["schema"] == schema
    assert outcome.named == set()
    older = api.ask("claude-sonnet-4-20250514", **api.form(schema))
    assert older.composition.plan.answer_tool is not None
    assert older.composition.plan.answer_tool.is_wrapped
    assert older.refusals == []


@EACH
@pytest.mark.parametrize("model", [HAIKU_4_5, "claude-opus-5-5"])
def test_an_answer_that_is_no_object_is_a_property_of_one(api: API, model: str) -> None:
    outcome = api.ask(model, **api.form(ARRAY))
    [tool] = outcome.body["tools"]
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {
            "value": {**ARRAY, "items": {"$ref": "#/properties/value/$defs/a"}}
        },
        "required": ["value"],
        "additionalProperties": False,
    }
    assert "`value`" in tool["description"]


@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=by_name)
def test_the_description_of_a_format_reaches_the_model(api: API) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    for given, wanted, named in [
        (schema, {"description": "Why.", **schema}, False),
        ({"description": "Own.", **schema}, {"description": "Own.", **schema}, True),
    ]:
        fields = api.form(given)
        form = fields.get("response_format", {}).get("json_schema")
        (form or fields["text"]["format"])["description"] = "Why."
        outcome = api.ask(**fields)
        assert outcome.body["output_config"]["format"]["schema"] == wanted
        path = f"{api.form_path.removesuffix('.schema')}.description"
        assert outcome.named == ({path} if named else set())
