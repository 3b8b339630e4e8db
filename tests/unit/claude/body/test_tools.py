"""Corrections of tools."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Raw

from ccproxy.claude.body.compose import composing, run
from ccproxy.claude.body.options import ComposeOptions, for_environment
from ccproxy.claude.body.subset import GrammarLimits, narrowed
from ccproxy.claude.schemas.arguments import merged
from ccproxy.core.errors import InvalidRequest, UnsupportedValue
from ccproxy.core.messages import Message, MessagesRequest, Tool, client_tool
from tests.support.composed import HAIKU_4_5, OPUS, body_of, composed, request, tool
from tests.support.messages_requests import (
    grammar_schemas,
    json_values,
    property_names,
    schemas,
)
from tests.support.provider_tools import grammar_violations

_RENAMED = {"input_schema": "parameters"}


def _asked(*tools: Tool) -> MessagesRequest:
    return MessagesRequest(messages=(Message("user", "hi"),), tools=tools)


def _openai(schema: Any, **fields: Any) -> MessagesRequest:
    made = client_tool(
        "look", "Looks.", schema, at="tools[0].function", renamed=_RENAMED, **fields
    )
    return _asked(made)


def test_tools_are_sent_unchanged() -> None:
    tools = [
        tool("b", description="d" * 5000, strict=True, input_examples=[{}]),
        tool("a", defer_loading=True, type="custom"),
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        {"type": "future_tool_20300101", "name": "f", "deep": {"x": [1]}},
        {"type": "mcp_toolset", "mcp_server_name": "s"},
    ]
    composition = composed(request("hi", tools=tools))
    assert body_of(composition)["tools"] == tools
    assert composition.adjusted == composition.ignored == ()


def test_a_schema_is_sent_byte_for_byte() -> None:
    raw = b'{"name":"a","input_schema":{"type":"object" , "title":"\\u0062"}}'
    composition = composed(_asked(Tool.decode(raw)))
    assert raw in composition.body.json


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ü", "x" * 129])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        composed(_asked(client_tool(name, None, {"type": "object"}, at="tools[0]")))
    assert caught.value.param == "tools[0].name"


def test_a_repeated_name_is_refused() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(InvalidRequest) as caught:
        composed(request("hi", tools=[search, tool("web_search")]))
    assert caught.value.param == "tools[1].name"


def test_a_schema_without_a_type_gets_type_object() -> None:
    composition = composed(_openai({"properties": {"a": {}}}))
    assert body_of(composition)["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {"a": {}},
    }
    assert composition.adjusted == ("tools[0].function.parameters",)


@pytest.mark.parametrize("schema", [7, [], True, {"type": "array"}, {"type": None}])
def test_a_schema_of_no_object_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        composed(_asked(client_tool("a", None, schema, at="tools[0]")))
    assert caught.value.param == "tools[0].input_schema"


@pytest.mark.parametrize("schema", [{"properties": 7}, {"required": ["a", 1]}])
def test_an_unsound_schema_is_refused_with_its_place(schema: Any) -> None:
    """Of the Messages API, the provider refuses it in its own words."""
    with pytest.raises(
        InvalidRequest, match=r"at `\$\.(properties|required)"
    ) as caught:
        composed(_openai(schema))
    assert caught.value.param == "tools[0].function.parameters"
    composed(_asked(client_tool("a", None, schema, at="tools[0]")))


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    deep = b'{"not":' * 600 + b'{"items":[{}]}' + b"}" * 600
    with pytest.raises(InvalidRequest, match="deeply"):
        composed(_asked(client_tool("a", None, Raw(deep), at="tools[0]")))


def test_references_that_multiply_are_followed_once() -> None:
    """Not ten times at each of eight levels."""
    defs = {f"l{n}": {"anyOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 10} for n in range(20)}
    whole = {"$defs": {**defs, "l20": {"properties": {"a": {}}}}}
    found = merged({**whole, "anyOf": [{"$ref": "#/$defs/l0"}, {"$ref": "#"}]})
    assert found["properties"] == {"a": {}}


def test_alternatives_at_the_root_are_merged() -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"type": "string"}},
        "required": ["kind"],
        "oneOf": [
            {
                "properties": {"path": {"type": "string"}, "n": {"type": "integer"}},
                "required": ["path", "n"],
            },
            {
                "properties": {"url": {"type": "string"}, "n": {"type": "string"}},
                "required": ["url", "n"],
            },
        ],
    }
    composition = composed(_openai(schema))
    sent = body_of(composition)["tools"][0]
    assert sent["input_schema"] == {
        "type": "object",
        "properties": {
            "kind": {"type": "string"},
            "path": {"type": "string"},
            "n": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "url": {"type": "string"},
        },
        "required": ["kind", "n"],
    }
    exact = sent["description"].partition("JSON Schema: ")[2]
    assert sent["description"].startswith("Looks.\n\n")
    assert json.loads(exact) == schema
    assert composition.adjusted == ("tools[0].function.parameters",)


def test_references_in_branches_are_followed() -> None:
    schema = {
        "$defs": {
            "a": {"properties": {"a": {}}, "required": ["a"]},
            "b": {"allOf": [{"$ref": "#/$defs/a"}], "required": ["b"]},
        },
        "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"$ref": "#/gone"}],
    }
    found = merged(schema)
    assert found["properties"] == {"a": {}}
    assert sorted(found["required"]) == ["a", "b"]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["anyOf", "oneOf", "allOf"]),
    st.lists(schemas(), min_size=1, max_size=3),
    st.dictionaries(property_names, json_values, max_size=2),
)
def test_a_value_of_a_schema_satisfies_the_merged_schema(
    key: str, branches: list[dict[str, Any]], value: dict[str, Any]
) -> None:
    defs = {"$defs": {"thing": {"type": "string"}}}
    bare = [{k: v for k, v in b.items() if k != "$defs"} for b in branches]
    schema = {**defs, key: bare}
    flat = merged(schema)
    assert not flat.keys() & {"anyOf", "oneOf", "allOf"}
    assert flat["type"] == "object"
    # A property that a branch does not name is described by those that do.
    whole = [b for b in bare if value.keys() <= b.get("properties", {}).keys()]
    known = [{**defs, **branch} for branch in whole]
    is_whole = len(whole) == len(bare) if key == "allOf" else bool(whole)
    checks = all if key == "allOf" else any
    if is_whole and checks(Draft202012Validator(b).is_valid(value) for b in known):
        assert Draft202012Validator(flat).is_valid(value)


@pytest.mark.parametrize("name", ["größe", "a b", "x" * 65, ""])
def test_an_invalid_property_name_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        composed(_openai({"type": "object", "properties": {name: {}}}))
    assert caught.value.param == "tools[0].function.parameters.properties"


def test_large_numbers_in_a_schema_are_reported() -> None:
    schema = {"type": "object", "properties": {"n": {"maximum": 2**60}}}
    composition = composed(_openai(schema))
    assert composition.adjusted == ("tools[0].function.parameters",)
    assert str(2**60) in composition.body.json.decode()


_CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def test_openais_strict_is_sent_where_the_provider_takes_it() -> None:
    composition = composed(_openai(_CLOSED, strict=True))
    assert body_of(composition)["tools"][0]["strict"] is True
    assert composition.adjusted == ()
    for changed in (
        {**_CLOSED, "additionalProperties": True},
        {**_CLOSED, "properties": {"a": {"type": "string", "maxLength": 3}}},
    ):
        composition = composed(_openai(changed, strict=True))
        assert "strict" not in body_of(composition)["tools"][0]
        assert composition.adjusted == ("tools[0].function.strict",)


def test_the_messages_apis_strict_is_kept() -> None:
    odd = tool("a", strict=True)
    composition = composed(request("hi", tools=[odd]))
    assert body_of(composition)["tools"] == [odd]


def test_an_older_model_gets_the_older_web_search() -> None:
    search = {"type": "web_search_20260209", "name": "web_search"}
    composition = composed(request("hi", tools=[search]), HAIKU_4_5)
    assert body_of(composition)["tools"][0]["type"] == "web_search_20250305"
    assert composition.adjusted == ("tools[0].type",)
    assert composed(request("hi", tools=[search]), OPUS).adjusted == ()
    on_vertex = for_environment(ComposeOptions(), {"CLAUDE_CODE_USE_VERTEX": "1"})
    composition = run(
        composing(
            request("hi", tools=[search]),
            model="opus",
            model_id=OPUS,
            options=on_vertex,
        )
    )
    assert body_of(composition)["tools"][0]["type"] == "web_search_20250305"
    on_bedrock = for_environment(ComposeOptions(), {"CLAUDE_CODE_USE_BEDROCK": "1"})
    assert on_bedrock.new_web_search


@settings(max_examples=100, deadline=None)
@given(grammar_schemas() | schemas())
def test_the_provider_can_enforce_the_narrowed_schema(schema: dict[str, Any]) -> None:
    found = GrammarLimits().take_part(schema)
    if found is not None:
        assert list(grammar_violations(found, "", 38)) == []
        assert GrammarLimits().take_tool(found)


@settings(max_examples=100, deadline=None)
@given(grammar_schemas())
def test_a_schema_of_the_subset_is_unchanged(schema: dict[str, Any]) -> None:
    assert GrammarLimits().take_tool(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": True},
        {**_CLOSED, "additionalProperties": {"type": "string"}},
        {**_CLOSED, "properties": {"a": {}}},
        {**_CLOSED, "properties": {"a": {"$ref": "#"}}},
        {**_CLOSED, "properties": {"a": {"$ref": "#/$defs/a"}}},
        {
            **_CLOSED,
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}},
        },
        {**_CLOSED, "properties": {"a": {"enum": [{"b": 1}]}}},
        {**_CLOSED, "patternProperties": {"^a": {}}},
        7,
    ],
)
def test_a_schema_that_the_provider_cannot_enforce_has_no_narrowed_schema(
    schema: Any,
) -> None:
    assert narrowed(schema) is None


def test_the_limits_are_those_of_the_whole_request() -> None:
    """Of all strict tools, and of the answer's schema."""
    limits = GrammarLimits()
    properties = {f"p{n}": {"type": "null"} for n in range(9)}
    optional = {**_CLOSED, "properties": properties, "required": []}
    closed = {**optional, "required": list(properties)}
    assert [limits.take_tool(optional) for _ in range(3)] == [True, True, False]
    assert limits.take_part(optional) is None
    assert limits.take_part(closed) == closed
    assert [limits.take_tool(closed) for _ in range(19)] == [True] * 18 + [False]
    unions = {**_CLOSED, "properties": {"a": {"type": ["string", "null"]}}}
    limits = GrammarLimits(unions=1)
    assert [limits.take_part(unions) is None for _ in range(2)] == [False, True]


def test_of_openais_strict_tools_as_many_stay_strict_as_the_provider_takes() -> None:
    tools = [
        client_tool(
            f"t{n}", None, _CLOSED, at=f"tools[{n}]", renamed=_RENAMED, strict=True
        )
        for n in range(22)
    ]
    composition = composed(_asked(*tools))
    sent = [tool.get("strict", False) for tool in body_of(composition)["tools"]]
    assert sent == [True] * 20 + [False] * 2
    assert composition.adjusted == ("tools[20].strict", "tools[21].strict")


def test_limits_are_left_out_of_a_narrowed_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "pattern": "^a", "format": "date"},
            "n": {"type": "integer", "minimum": 1},
            "l": {"type": "array", "items": {"type": "null"}, "minItems": 2},
            "o": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["a", "n", "l", "o"],
    }
    assert narrowed(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "format": "date"},
            "n": {"type": "integer"},
            "l": {"type": "array", "items": {"type": "null"}},
            "o": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["a", "n", "l", "o"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({f"p{n}": {} for n in range(10_000)}, "10000 objects and arrays"),
        ({"p": {"description": "x" * 2_000_000}}, "2000000 bytes"),
    ],
)
def test_a_schema_has_a_largest_size(properties: dict[str, Any], why: str) -> None:
    schema = {"type": "object", "properties": properties}
    with pytest.raises(InvalidRequest, match=f"too large: it has more than {why}"):
        composed(request(tools=[tool(input_schema=schema)]))
