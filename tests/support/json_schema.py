"""JSON Schema for the many small checks of tests: each reference is looked up once.

To look up a reference takes ``jsonschema`` longer than all else of a check.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, reduce
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema_specifications import REGISTRY

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]


def validator_of(document: Mapping[str, Any]) -> Any:
    """A validator of draft 2020-12 for a schema whose references are in itself."""

    @cache
    def target(reference: str) -> Any:
        names = reference.removeprefix("#/").split("/")
        unescaped = [name.replace("~1", "/").replace("~0", "~") for name in names]
        return reduce(lambda node, name: node[name], unescaped, document)

    def follow(
        validator: Any, reference: str, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        yield from validator.descend(instance, target(reference))

    return _extended("$ref", follow)(document)


def is_schema(value: Any) -> bool:
    """Whether a value is a schema of draft 2020-12."""
    is_valid: bool = _metaschema().is_valid(value)
    return is_valid


@cache
def _metaschema() -> Any:
    """The validator of schemas, by the metaschema in one piece."""
    whole = Draft202012Validator.META_SCHEMA
    parts = [
        REGISTRY.contents(f"https://json-schema.org/draft/2020-12/{part['$ref']}")
        for part in whole["allOf"]
    ]
    definitions = {
        name: schema for part in parts for name, schema in part.get("$defs", {}).items()
    }

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(item) for item in node]
        if not isinstance(node, dict):
            return node
        found = {key: inlined(value) for key, value in node.items()}
        # A property may have this name, too.
        if isinstance(found.get("$ref"), str):
            found |= inlined(definitions[found.pop("$ref").rpartition("/")[2]])
        return found

    properties = {
        name: inlined(schema)
        for part in (*parts, whole)
        for name, schema in part["properties"].items()
    }
    schema = {"type": ["object", "boolean"], "properties": properties}

    def follow(
        validator: Any, reference: str, instance: Any, parent: Any
    ) -> Iterator[ValidationError]:
        # Every `$dynamicRef` of the metaschema is "a schema".
        yield from validator.descend(instance, schema)

    checker = Draft202012Validator.FORMAT_CHECKER
    return _extended("$dynamicRef", follow)(schema, format_checker=checker)


def _extended(name: str, keyword: Keyword) -> Any:
    return validators.extend(Draft202012Validator, {name: keyword})
