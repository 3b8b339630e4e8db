"""The JSON Schemas that the provider can enforce. Pure.

For ``output_config.format`` and ``strict`` tools, the provider compiles a schema to a
grammar. It refuses open objects, recursion, and limits of numbers, lengths and lists.
Keywords that only narrow a value can be left out and checked afterwards. A schema with
open objects or recursion cannot be enforced, not even in part.

Source: rules 32 and 38 of the Messages API; "Structured outputs", limitations.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define

from ccproxy.claude.schemas.subschemas import target_of

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf")
_KEPT = frozenset(
    {
        *("type", "enum", "const", "required", "title", "description", "default"),
        *("$ref", "additionalProperties", "items", *_MAPS, *_LISTS, "examples"),
        *("$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly"),
    }
)
_FORMATS = frozenset(
    {
        *("date-time", "time", "date", "duration"),
        *("email", "hostname", "uri", "ipv4", "ipv6", "uuid"),
    }
)
# Keywords that only narrow a value. The proxy can check the answer against them.
_CHECKED = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format", "minItems", "maxItems"),
        *("uniqueItems", "minProperties", "maxProperties", "contentEncoding"),
        *("contentMediaType", "not", "if", "then", "else", "contains", "propertyNames"),
        *("dependentRequired", "dependentSchemas", "minContains", "maxContains"),
    }
)
_DEEPEST = 64


@define
class GrammarLimits:
    """The remainder of the provider's limits for all schemas of one request.

    Attributes:
        tools: how many strict tools can still be added.
        optional: how many properties that are not required can still be added.
        unions: how many schemas with ``anyOf`` or with a list of types can still be
            added.
    """

    tools: int = 20
    optional: int = 24
    unions: int = 16

    def take_tool(self, schema: Any) -> bool:
        """Add a strict tool; False: the provider cannot enforce its schema."""
        if self.tools == 0 or narrowed(schema) != schema or not self._take(schema):
            return False
        self.tools -= 1
        return True

    def take_part(self, schema: Any) -> dict[str, Any] | None:
        """Add the part of a schema that the provider can enforce; None: there is none.

        A value may satisfy the part but not the schema, so the answer must be checked.
        """
        found = narrowed(schema)
        return found if found is not None and self._take(found) else None

    def _take(self, schema: Mapping[str, Any]) -> bool:
        optional, unions = _sizes(schema)
        if optional > self.optional or unions > self.unions:
            return False
        self.optional -= optional
        self.unions -= unions
        return True


def narrowed(schema: Any) -> dict[str, Any] | None:
    """The part of a schema that the provider can enforce, whatever its size.

    Objects with ``properties`` but without ``additionalProperties`` are closed.

    Returns:
        None if there is no such part: the schema has an open object, recursion or an
        unknown keyword.
    """
    try:
        found = _walk(schema, 0)
        return None if _is_recursive(found) else found
    except (_OutsideError, RecursionError):
        return None


class _OutsideError(Exception):
    """The provider cannot compile the schema to a grammar."""


def _walk(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        raise _OutsideError
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _MAPS:
            if not isinstance(value, Mapping):
                raise _OutsideError
            found[name] = {k: _walk(inner, depth + 1) for k, inner in value.items()}
        elif name == "oneOf" or name in _LISTS:
            if not isinstance(value, list) or not value:
                raise _OutsideError
            # The proxy checks later that the answer satisfies exactly one schema.
            key = "anyOf" if name == "oneOf" else name
            if key in found:
                raise _OutsideError
            found[key] = [_walk(inner, depth + 1) for inner in value]
        elif name == "items":
            found[name] = _walk(value, depth + 1)
        elif name in ("enum", "const"):
            found[name] = _plain(value)
        elif name in _KEPT or _is_kept_limit(name, value):
            found[name] = value
        elif name not in _CHECKED:
            raise _OutsideError
    return _closed(found, schema)


def _plain(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, Mapping | list) for each in values):
        raise _OutsideError
    return value


def _is_kept_limit(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in _FORMATS
    return name == "minItems" and value in (0, 1)


def _closed(found: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    types = schema.get("type")
    is_object = types == "object" or (isinstance(types, list) and "object" in types)
    if not is_object and "properties" not in schema:
        if types is None and not found.keys() & {"$ref", "enum", "const", *_LISTS}:
            # The schema allows any value.
            raise _OutsideError
        return found
    if found.get("additionalProperties", False) is not False:
        raise _OutsideError
    if "additionalProperties" not in found:
        if not found.get("properties"):
            raise _OutsideError
        found["additionalProperties"] = False
    return found


def _is_recursive(root: Mapping[str, Any]) -> bool:
    """Whether a reference leads back to itself, or out of the schema."""
    states: dict[str, bool] = {}

    def goes_round(reference: str) -> bool:
        if reference in states:
            return not states[reference]
        states[reference] = False
        target = target_of(root, reference)
        if not isinstance(target, Mapping):
            return True
        if any(goes_round(inner) for inner in _references(target)):
            return True
        states[reference] = True
        return False

    return any(goes_round(reference) for reference in set(_references(root)))


def _references(schema: Any) -> Iterator[str]:
    for part in _parts(schema):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference


def _sizes(root: Mapping[str, Any]) -> tuple[int, int]:
    """The number of optional properties, and of unions."""
    optional = unions = 0
    for part in _parts(root):
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            required = part.get("required")
            named = required if isinstance(required, list) else []
            optional += sum(1 for name in properties if name not in named)
        if "anyOf" in part or isinstance(part.get("type"), list):
            unions += 1
    return optional, unions


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all its subschemas."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        yield part
        for name in _MAPS:
            inner = part.get(name)
            if isinstance(inner, Mapping):
                waiting += inner.values()
        for name in _LISTS:
            if isinstance(part.get(name), list):
                waiting += part[name]
        waiting.append(part.get("items"))
