"""The shapes of schemas: which are refused, and which are not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Raw

from ccproxy.claude.native.structured_output import understood
from ccproxy.claude.schemas import shape
from ccproxy.core.errors import InvalidRequest

META: Any = Draft202012Validator(Draft202012Validator.META_SCHEMA)
KEYWORDS = [*META.schema["properties"]]
for part in META.schema["allOf"]:
    vocabulary: Any = META._resolver.lookup(part["$ref"]).contents
    KEYWORDS += vocabulary["properties"]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from(["", "string", "object", "#", "#/$defs/a", "(", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*KEYWORDS, "a", "/clear"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
SCHEMAS = st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=4)


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"required": False}, "`array`, got `bool` - at `$.required`"),
        ({"required": [1]}, "`str`, got `int` - at `$.required[0]`"),
        ({"properties": None}, "`object`, got `null` - at `$.properties`"),
        ({"properties": {"a": "string"}}, "got `str` - at `$.properties[...]`"),
        ({"properties": {"a": {"type": "any"}}}, "'any' - at `$.properties[...].type`"),
        ({"properties": {"a": {"items": [{}]}}}, "at `$.properties[...].items`"),
        ({"anyOf": []}, "length >= 1 - at `$.anyOf`"),
        ({"additionalProperties": 7}, "at `$.additionalProperties`"),
        ({"properties": {"a": {"exclusiveMinimum": True}}}, "exclusiveMinimum"),
    ],
)
def test_place_of_a_fault_is_named(schema: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_shape(schema, "tools[0].function.parameters")
    assert where in str(caught.value)
    assert caught.value.param == "tools[0].function.parameters"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"a": True, "b": {"type": ["string", "null"], "title": None}}},
        {"x-order": 3, "properties": {"a": {"minLength": 1.0, "nullable": True}}},
    ],
)
def test_all_else_is_taken(schema: dict[str, Any]) -> None:
    check_shape(schema, "p")


def check_shape(schema: Any, param: str) -> None:
    shape.check_shape(Raw(json.dumps(schema).encode()), param)


def test_endless_nesting_is_refused() -> None:
    deep = Raw(b'{"not":' * 100_000 + b"{}" + b"}" * 100_000)
    with pytest.raises(InvalidRequest):
        shape.check_shape(deep, "p")


@given(SCHEMAS)
def test_a_good_schema_is_never_refused(schema: dict[str, Any]) -> None:
    if META.is_valid(schema):
        check_shape(schema, "p")


@given(SCHEMAS)
def test_what_is_taken_can_be_told_to_the_cli(schema: dict[str, Any]) -> None:
    try:
        check_shape(schema, "p")
    except InvalidRequest:
        return
    assert understood(schema).keys() <= schema.keys() | {"type"}
