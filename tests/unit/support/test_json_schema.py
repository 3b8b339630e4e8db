"""The fast validators of the tests find what the library finds."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, SchemaError

from tests.support.json_schema import is_schema, validator_of

SPEC = Path(__file__).parents[2] / "spec" / "json-schema-suite.json"
# All of them would take as long as what is saved.
SAMPLE = [group["schema"] for group in json.loads(SPEC.read_text())][::9]
WRONG: list[Any] = [
    *(1, None, "string", [], {"type": "text"}, {"type": []}, {"pattern": "("}),
    *({"$ref": 1}, {"$ref": {}}, {"$anchor": "#a"}, {"$defs": []}, {"$defs": {"a": 1}}),
    *({"required": "a"}, {"required": ["a", "a"]}, {"minLength": -1}, {"maximum": "1"}),
    *({"properties": {"a": {"items": [{}]}}}, {"not": {"allOf": []}}, {"title": 1}),
    *({"dependencies": {"a": [1]}}, {"definitions": {"a": "b"}}, {"format": 1}),
    *({"patternProperties": {"(": {}}}, {"anyOf": [{"enum": 1}]}, {"contentSchema": 1}),
    *({"unevaluatedItems": 1}, {"multipleOf": 0}, {"dependentRequired": {"a": 1}}),
]


@pytest.mark.parametrize("schema", [*SAMPLE, *WRONG, True, {"dependencies": {}}])
def test_what_a_schema_is(schema: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        assert not is_schema(schema)
    else:
        assert is_schema(schema)


def test_wrong_schemas_are_found() -> None:
    assert not any(is_schema(schema) for schema in WRONG)


def test_references_are_followed() -> None:
    leaf = {"type": "integer", "minimum": 0}
    items = {"anyOf": [{"$ref": "#/parts/a~1b"}, {"$ref": "#/parts/tree"}]}
    tree = {"type": "array", "items": items}
    document = {"$ref": "#/parts/tree", "parts": {"a/b": leaf, "tree": tree}}
    theirs = Draft202012Validator(document)
    for value in ([], [1, [2, [3]]], [1, [-2]], ["a", [["b"]]], 5):
        found = [
            (e.json_path, e.message) for e in validator_of(document).iter_errors(value)
        ]
        assert found == [(e.json_path, e.message) for e in theirs.iter_errors(value)]
