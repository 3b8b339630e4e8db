"""Makes the schema of a tool's arguments acceptable to the Messages API. Pure.

====================================  =============================================
a schema with                         what is sent
====================================  =============================================
no ``type``, or several types with    ``type: object``
``object`` among them
keywords of an older draft            those of draft 2020-12
``anyOf``, ``oneOf``, ``allOf`` at    one object that has all their properties
the root
====================================  =============================================

Any other schema is sent byte for byte.

Source: rule 31 of the Messages API.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from attrs import define, field, frozen
from msgspec import Raw

from ccproxy.claude.schemas.shape import check_shape
from ccproxy.claude.schemas.subschemas import target_of
from ccproxy.claude.schemas.text_limits import TOOL_SCHEMA_LIMITS
from ccproxy.claude.schemas.upgrade import may_be_older, upgraded
from ccproxy.core.errors import InvalidRequest

_OBJECT = Raw(b'"object"')

_COMBINED = ("anyOf", "oneOf", "allOf")
# A smaller schema is within the limits.
_SMALL_BYTES = 2**16
# The longest chain of references and branches that is followed.
_DEEPEST = 64

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode


@frozen
class ArgumentSchema:
    """A schema as it is sent.

    Attributes:
        json: the schema.
        is_changed: whether it differs from the client's.
        is_merged: whether it allows more than the client's schema. The tool's
            description must then contain the client's schema.
    """

    json: Raw
    is_changed: bool = False
    is_merged: bool = False

    @property
    def properties(self) -> Iterable[str]:
        """The names of the properties at the root."""
        try:
            return _decode_shallow(_decode_shallow(self.json)["properties"])
        except (KeyError, msgspec.ValidationError):
            # The provider's error explains a wrong form better.
            return ()


def argument_schema(given: Raw, at: str, *, is_checked: bool) -> ArgumentSchema:
    """Make the schema that is sent in place of the client's.

    Args:
        given: the client's schema.
        at: the schema's path in the client's request.
        is_checked: whether to refuse a schema that the provider is known to refuse;
            otherwise the provider's error explains the fault.

    Raises:
        InvalidRequest: ``given`` is not a JSON Schema of type object, or is too large.
    """
    if len(memoryview(given)) > _SMALL_BYTES:
        excess = TOOL_SCHEMA_LIMITS.excess(bytes(given))
        if excess is not None:
            raise InvalidRequest(f"`{at}` is too large: {excess}", param=at)
    try:
        fields = _decode_shallow(given)
        made = _made(given, fields, at)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"`{at}` must be a JSON Schema of type object", param=at
        ) from None
    except RecursionError:
        raise InvalidRequest(f"`{at}` is nested too deeply", param=at) from None
    if is_checked:
        check_shape(made.json, at)
    return made


def _made(given: Raw, fields: dict[str, Raw], at: str) -> ArgumentSchema:
    kind = msgspec.json.decode(fields.get("type", _OBJECT))
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise InvalidRequest(
            f"`{at}` must be a JSON Schema of type object; put other values into a "
            "property of an object",
            param=at,
        )
    is_merged = any(name in fields for name in _COMBINED)
    is_older = may_be_older(bytes(given))
    if is_merged or is_older:
        schema = msgspec.json.decode(given)
        sent = upgraded(schema)
        if is_merged:
            sent = merged(sent)
        if sent is not schema:
            return ArgumentSchema(
                Raw(_encode({**sent, "type": "object"})), True, is_merged
            )
    if "type" not in fields:
        return ArgumentSchema(Raw(_encode({"type": "object", **fields})), True)
    if kind != "object":
        return ArgumentSchema(Raw(_encode({**fields, "type": _OBJECT})), True)
    return ArgumentSchema(given)


def merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``anyOf``, ``oneOf`` and ``allOf`` at the root of a schema into one object.

    Every object that satisfies the schema satisfies the result. The result has the
    properties of all branches. It requires the properties that the root requires, that
    every branch of ``anyOf`` or ``oneOf`` requires, or that a branch of ``allOf``
    requires.
    """
    return _Merger(schema).merge(schema, _DEEPEST)


@define
class _Merger:
    """Merges a schema; each reference is resolved once."""

    _root: Mapping[str, Any]
    _resolved: dict[str, dict[str, Any]] = field(factory=dict)

    def merge(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kept = {k: v for k, v in schema.items() if k not in _COMBINED}
        properties = _Properties()
        required = dict.fromkeys(_names(schema))
        properties.add(schema)
        for keyword in _COMBINED:
            branches = [self._branch(b, depth) for b in _list(schema.get(keyword))]
            for branch in branches:
                properties.add(branch)
            sets = [set(_names(branch)) for branch in branches]
            if sets:
                is_all = keyword == "allOf"
                common = set.union(*sets) if is_all else set.intersection(*sets)
                required.update(dict.fromkeys(sorted(common)))
        kept["type"] = "object"
        kept["properties"] = properties.schemas()
        kept.pop("required", None)
        if required:
            kept["required"] = list(required)
        kept.pop("unevaluatedProperties", None)
        return kept

    def _branch(self, branch: Any, depth: int) -> dict[str, Any]:
        """A branch as one object: its ``$ref`` resolved, its own branches merged."""
        if not isinstance(branch, Mapping) or not depth:
            return {}
        reference = branch.get("$ref")
        if isinstance(reference, str):
            if reference not in self._resolved:
                # A reference that leads back to itself adds nothing.
                self._resolved[reference] = {}
                target = target_of(self._root, reference)
                self._resolved[reference] = self._branch(target, depth - 1)
            return self._resolved[reference]
        if any(keyword in branch for keyword in _COMBINED):
            return self.merge(branch, depth - 1)
        return dict(branch)


class _Properties:
    """Merges the properties of several objects, with all schemas of each property."""

    def __init__(self) -> None:
        # The schemas of each property, by their JSON.
        self._schemas: dict[str, dict[bytes, Any]] = {}

    def add(self, schema: Mapping[str, Any]) -> None:
        """Add the properties of an object."""
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return
        for name, value in properties.items():
            self._schemas.setdefault(name, {})[_encode_sorted(value)] = value

    def schemas(self) -> dict[str, Any]:
        """The schema of each property."""
        return {
            name: next(iter(known.values()))
            if len(known) == 1
            else {"anyOf": list(known.values())}
            for name, known in self._schemas.items()
        }


def _names(schema: Mapping[str, Any]) -> list[str]:
    return [name for name in _list(schema.get("required")) if isinstance(name, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
