"""Every field of the requests in the OpenAPI documents, each in a request that has it.

A document's schema is walked to its leaves, through unions, lists and nested objects.
Each leaf is a `DocumentedField`: its path, and requests that differ in it only.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

from tests.support.docs import ROOT

Put: TypeAlias = Callable[[Any], Any]
Schema: TypeAlias = Mapping[str, Any]
# Values for a place, by the end of its path; the longest end counts.
Samples: TypeAlias = Mapping[str, Sequence[Any]]

_ABSENT: Any = object()


@frozen(kw_only=True)
class DocumentedField:
    """A leaf of a document.

    Attributes:
        path: with 0 for each index of a list.
        kind: the types of the objects that the field is in, from the outside.
        values: of the field; none of them is the default.
        put: a value → a value of the top-level field.
        bare: the top-level field without the leaf; None: there is none.
    """

    path: str
    kind: str
    values: Sequence[Any]
    put: Put
    bare: Any = None

    @property
    def name(self) -> str:
        """The path with the types, for the name of a test."""
        return f"{self.path} {self.kind}".strip()

    @property
    def top(self) -> str:
        """The top-level field."""
        return self.path.replace("[", ".").partition(".")[0]


@cache
def document(name: str) -> Mapping[str, Any]:
    """A document in ``tests/spec``."""
    path = ROOT / "tests" / "spec" / f"{name}.openapi.json"
    found: Mapping[str, Any] = json.loads(path.read_text())
    return found


class Walk:
    """Finds the fields of a component.

    Args:
        schemas: the document's components.
        samples: values that mean something; all others are made up.
        companions: optional fields that an object needs, by its type, or by the end of
            its path.
    """

    def __init__(
        self,
        schemas: Mapping[str, Schema],
        samples: Samples,
        companions: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._schemas = schemas
        self._samples = samples
        self._companions = companions

    def fields(self, component: str) -> Iterator[DocumentedField]:
        """The fields of a component, and of everything in it."""
        for one in self._variants({"$ref": f"/{component}"}, ()):
            for name, schema in one.schema["properties"].items():
                yield from self._walk(schema, name, "", _same, one.refs)

    def _walk(
        self,
        schema: Schema,
        path: str,
        kind: str,
        put: Put,
        refs: tuple[str, ...],
        bare: Any = None,
    ) -> Iterator[DocumentedField]:
        leaves: list[Any] = []
        for one in self._variants(schema, refs):
            properties = one.schema.get("properties")
            items = one.schema.get("items")
            if properties:
                found = [*self._object(one, path, kind, put)]
                yield from found
                if not found and "type" not in properties:
                    # Its only field is a constant.
                    leaves.append(self._least(one, path))
            elif items and self._is_deep(items, one.refs):
                below = (items, f"{path}[0]", kind, _listed(put), one.refs)
                yield from self._walk(*below)
            elif one.schema.get("type") != "null":
                leaves += self._values(one, path)
        leaves = [*self._sample(path)] or leaves
        if leaves:
            yield DocumentedField(
                path=path, kind=kind, values=leaves, put=put, bare=bare
            )

    def _object(
        self, one: "_Variant", path: str, kind: str, put: Put
    ) -> Iterator[DocumentedField]:
        least = self._least(one, path)
        own = " ".join(filter(None, (kind, least.get("role"), least.get("type"))))
        for name, schema in one.schema["properties"].items():
            is_required = name in one.schema.get("required", ())
            constants = self._constants(schema, one.refs)
            if name == "type" and len(constants) == 1:
                continue
            if is_required and len(constants) == 1 and constants[0] is not _ABSENT:
                continue
            without = {k: v for k, v in least.items() if k != name}
            yield from self._walk(
                schema,
                f"{path}.{name}",
                own,
                _within(put, without, name),
                one.refs,
                None if is_required else put(without),
            )

    def _is_deep(self, schema: Schema, refs: tuple[str, ...]) -> bool:
        """Whether a list's items have fields."""
        return any(
            "properties" in one.schema or "items" in one.schema
            for one in self._variants(schema, refs)
        )

    def _constants(self, schema: Schema, refs: tuple[str, ...]) -> Sequence[Any]:
        found: list[Any] = []
        for one in self._variants(schema, refs):
            if one.schema.get("type") != "null":
                found += one.schema.get("enum", [one.schema.get("const", _ABSENT)])
        return found

    def _least(self, one: "_Variant", path: str) -> dict[str, Any]:
        """An object with the required fields only, and its type."""
        least: dict[str, Any] = {}
        properties = one.schema.get("properties", {})
        for name, schema in properties.items():
            constants = self._constants(schema, one.refs)
            is_type = name == "type" and len(constants) == 1
            if is_type and constants[0] is not _ABSENT:
                least[name] = constants[0]
            elif name in one.schema.get("required", ()):
                sample = self._sample(f"{path}.{name}")
                inner = f"{path}.{name}"
                least[name] = sample[0] if sample else self._any(schema, inner, one)
        ends = [end for end in self._companions if f".{path}".endswith(f".{end}")]
        for key in (*ends, least.get("type", "")):
            least |= self._companions.get(key, {})
        return least

    def _any(self, schema: Schema, path: str, outer: "_Variant") -> Any:
        for one in self._variants(schema, outer.refs):
            if one.schema.get("properties"):
                return self._least(one, path)
            if one.schema.get("items"):
                sample = self._sample(f"{path}[0]")
                item = one.schema["items"]
                return [*sample[:1]] or [self._any(item, f"{path}[0]", one)]
            if values := self._values(one, path):
                return values[0]
        return None

    def _sample(self, path: str) -> Sequence[Any]:
        ends = [end for end in self._samples if f".{path}".endswith(f".{end}")]
        return self._samples[max(ends, key=len)] if ends else ()

    @staticmethod
    def _values(one: "_Variant", path: str) -> Sequence[Any]:
        """Values of a schema without fields."""
        schema = one.schema
        if "const" in schema:
            return [schema["const"]]
        if "enum" in schema:
            return [v for v in schema["enum"] if v is not None]
        match schema.get("type"):
            case "boolean":
                return [True, False]
            case "integer" | "number":
                return [1, 2]
            case "array":
                return [[sentinel(path)]]
            case "object":
                return [{"some": sentinel(path)}]
        return [sentinel(path)]

    def _variants(self, schema: Schema, refs: tuple[str, ...]) -> Iterator["_Variant"]:
        """The members of a union, with all that ``allOf`` joins."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in refs:
                yield from self._variants(self._schemas[name], (*refs, name))
            return
        members = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        if members and not schema.get("properties"):
            for member in members:
                yield from self._variants(member, refs)
            return
        if "allOf" in schema:
            joined: dict[str, Any] = {"properties": {}, "required": []}
            own = {key: value for key, value in schema.items() if key != "allOf"}
            for part in (*schema["allOf"], own):
                for one in self._variants(part, refs):
                    refs = tuple(dict.fromkeys((*refs, *one.refs)))
                    joined["properties"] |= one.schema.get("properties", {})
                    joined["required"] += one.schema.get("required", [])
                    for key, value in one.schema.items():
                        joined.setdefault(key, value)
            if not joined["properties"]:
                del joined["properties"]
            yield _Variant(joined, refs)
            return
        yield _Variant(schema, refs)


@frozen
class _Variant:
    """A schema that is no union, and the components that it is within."""

    schema: Schema
    refs: tuple[str, ...]


def sentinel(path: str) -> str:
    """A text that stands in one place only."""
    return "zq" + sha256(path.encode()).hexdigest()[:8]


def _same(value: Any) -> Any:
    return value


def _listed(put: Put) -> Put:
    return lambda value: put([value])


def _within(put: Put, least: Mapping[str, Any], name: str) -> Put:
    return lambda value: put({**least, name: value})


def anthropic_schemas() -> Mapping[str, Schema]:
    """The types of the Messages API in ``provider_types.json``, as JSON Schemas."""
    table = json.loads((Path(__file__).with_name("provider_types.json")).read_text())
    return {
        name: {
            "type": "object",
            "properties": {k: _schema(v) for k, v in about["fields"].items()},
            "required": about["required"],
        }
        for name, about in table["types"].items()
    }


_PLAIN = {"float": "number", "str": "string", "int": "integer", "bool": "boolean"}


def _schema(hint: Any) -> Schema:
    match hint:
        case {"any": members}:
            return {"anyOf": [_schema(member) for member in members]}
        case {"list": item}:
            return {"type": "array", "items": _schema(item)}
        case {"ref": name}:
            return {"$ref": f"/{name}"}
        case {"of": values}:
            return {"enum": values}
        case {"map": _} | "anything":
            return {"type": "object"}
    return {"type": _PLAIN.get(hint, hint)}
