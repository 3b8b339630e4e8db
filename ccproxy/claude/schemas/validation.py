"""Compiles JSON Schemas and checks instances. Pure.

A regular expression or a chain of ``$ref`` can take unlimited time and memory. So this
code runs in a helper process, `ccproxy.claude.schemas.helper_main`.

Source: JSON Schema 2020-12, 2019-09 and drafts 7, 6, 4; jsonschema 4.26.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from attrs import define, field, frozen
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from ccproxy.claude.schemas.drafts import (
    SchemaDraft,
    SchemaRefused,
    cut,
    draft_of,
    expectation,
    path_text,
    python_pattern,
    rules,
    shown,
)
from ccproxy.claude.schemas.subschemas import LISTS, MAPS, SINGLE
from ccproxy.claude.schemas.upgrade import upgraded

# The limit of subschemas that apply to one value. Checking one takes about 20 µs.
MOST_EXPANDED = 10_000

_Path = tuple[str | int, ...]

_DEFINITIONS = frozenset(("$defs", "definitions"))
# Keywords whose subschemas apply to the same value as the schema itself.
_IN_PLACE = frozenset(
    (
        *("allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if"),
        *("not", "oneOf", "then"),
    )
)
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_REFS = ("$ref", "$dynamicRef", "$recursiveRef")


@frozen
class CompiledSchema:
    """A compiled schema."""

    _validator: Any

    def problem(self, instance: str) -> str | None:
        """Check an instance.

        Args:
            instance: JSON.

        Returns:
            None if the instance satisfies the schema; otherwise the place and the
            keyword, as a sentence without full stop. The sentence may quote the schema.
            Of the instance, the sentence quotes only names of properties.
        """
        try:
            value = msgspec.json.decode(instance)
        except (msgspec.DecodeError, UnicodeError) as error:
            return f"it is not JSON: {error}"
        found = best_match(self._validator.iter_errors(value))
        if found is None:
            return None
        return f"`{path_text(found.absolute_path, '$')}` {expectation(found)}"


def compile_schema(text: str) -> CompiledSchema:
    """Compile a JSON Schema.

    Args:
        text: JSON, of draft 2020-12 unless ``$schema`` names another.

    Raises:
        SchemaRefused: the schema is not JSON, breaks the rules of its draft, has a
            reference that leads out of the schema or back to itself, or has a regular
            expression that Python does not compile.
        RecursionError: the schema is nested too deeply.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise SchemaRefused((), f"it is not JSON: {error}") from None
    if not isinstance(document, dict | bool):
        raise SchemaRefused((), "it must be an object or a boolean")
    draft = draft_of(document)
    if isinstance(document, dict) and "$schema" not in document:
        # Many schemas of older drafts do not declare a draft.
        document = upgraded(document)
    _Reader(draft).read(document)
    # With its default registry, jsonschema would fetch remote references.
    return CompiledSchema(draft.validator(document, registry=Registry()))


@define(eq=False)
class _Reader:
    """Checks all subschemas of a schema, with their patterns and references.

    Regular expressions are translated to Python's syntax, in place.
    """

    _draft: SchemaDraft
    # Subschemas that the draft's rules allow, by identity; kept alive by this dict.
    _checked: dict[int, Any] = field(factory=dict)
    # The path of each subschema that was read, by identity.
    _places: dict[int, _Path] = field(factory=dict)
    # For each subschema that was read: the subschemas that apply to the same value.
    _same: dict[int, list[int]] = field(factory=dict)

    def read(self, document: Any) -> None:
        """Read a whole document."""
        self._check(document, ())
        resource = self._draft.specification.create_resource(document)
        root: Any = Registry().resolver_with_root(resource)
        waiting: list[tuple[Any, _Path, Any]] = [(document, (), root)]
        while waiting:
            schema, path, resolver = waiting.pop()
            if isinstance(schema, bool) or id(schema) in self._places:
                continue
            self._places[id(schema)] = path
            self._same[id(schema)] = same = []
            for keyword, place, inner in self._subschemas(schema):
                entered: Any = resolver.in_subresource(
                    self._draft.specification.create_resource(inner)
                )
                waiting.append((inner, (*path, *place), entered))
                if keyword in _IN_PLACE:
                    same.append(id(inner))
            for keyword in _REFS:
                if keyword in schema and keyword in self._draft.validator.VALIDATORS:
                    at = (*path, keyword)
                    target = self._target(schema[keyword], at, resolver)
                    waiting.append((target.contents, at, target.resolver))
                    same.append(id(target.contents))
            if not self._has_ref_alone(schema):
                self._read_patterns(schema, path)
        self._expand(id(document))

    def _check(self, schema: Any, path: _Path) -> None:
        """Check a schema and all its subschemas by the rules of the draft."""
        waiting = [(schema, path)]
        while waiting:
            one, at = waiting.pop()
            if isinstance(one, bool) or id(one) in self._checked:
                continue
            found = best_match(rules(self._draft).iter_errors(one))
            if found is not None:
                at = (*at, *found.absolute_path)
                why = expectation(found)
                if found.validator == "anyOf" and at[-1] == "type":
                    why = f"is neither one of {', '.join(_TYPES)}, nor a list of them"
                raise SchemaRefused(at, f"{shown(found.instance)} {why}")
            self._checked[id(one)] = one
            for keyword, place, inner in self._subschemas(one):
                if inner is False and keyword in MAPS:
                    # jsonschema does not report the path of a `false`.
                    one[keyword][place[1]] = {"not": {}}
                waiting.append((inner, (*at, *place)))

    def _has_ref_alone(self, schema: dict[str, Any]) -> bool:
        return self._draft.is_ref_alone and "$ref" in schema

    def _subschemas(self, schema: dict[str, Any]) -> Iterator[tuple[str, _Path, Any]]:
        """The keyword, path and schema of each subschema that is not ignored."""
        known = rules(self._draft).schema["properties"]
        if self._has_ref_alone(schema):
            known = _DEFINITIONS
        for keyword, value in schema.items():
            if keyword not in known:
                continue
            if isinstance(value, dict) and keyword in MAPS:
                for key, inner in value.items():
                    # `dependencies` may be lists of names.
                    if isinstance(inner, dict | bool):
                        yield keyword, (keyword, key), inner
            elif isinstance(value, list) and keyword in LISTS:
                for index, inner in enumerate(value):
                    yield keyword, (keyword, index), inner
            elif isinstance(value, dict) and keyword in SINGLE:
                yield keyword, (keyword,), value

    def _target(self, ref: Any, at: _Path, resolver: Any) -> Any:
        if not isinstance(ref, str):
            raise SchemaRefused(at, "it must be a string")
        shown = cut(ref)
        try:
            target = resolver.lookup(ref)
        except (Unresolvable, ValueError, TypeError, AttributeError):
            raise SchemaRefused(
                at,
                f"the schema has nothing at `{shown}`; put the referenced schema into "
                "`$defs` (nothing is fetched)",
            ) from None
        if not isinstance(target.contents, dict | bool):
            raise SchemaRefused(at, f"the value at `{shown}` is not a schema")
        # A reference can lead to a value that is not otherwise a subschema.
        self._check(target.contents, at)
        return target

    def _read_patterns(self, schema: dict[str, Any], path: _Path) -> None:
        if "pattern" in schema:
            schema["pattern"] = _compilable(schema["pattern"], (*path, "pattern"))
        if "patternProperties" not in schema:
            return
        at = (*path, "patternProperties")
        schema["patternProperties"] = {
            _compilable(pattern, (*at, pattern)): inner
            for pattern, inner in schema["patternProperties"].items()
        }
        if "additionalProperties" in schema or "unevaluatedProperties" in schema:
            # jsonschema joins the patterns in this way.
            _compilable("|".join(schema["patternProperties"]), at)

    def _expand(self, root: int) -> None:
        """Refuse endless references, and too many subschemas for one value."""
        sizes: dict[int, int] = {}
        entered: set[int] = set()

        def size(one: int) -> int:
            if one in sizes or one not in self._same:
                return sizes.get(one, 1)
            path = self._places[one]
            if one in entered:
                raise SchemaRefused(path, "its references form a cycle")
            entered.add(one)
            total = 1 + sum(map(size, self._same[one]))
            if total > MOST_EXPANDED:
                raise SchemaRefused(
                    path,
                    "its references and `allOf`s multiply to more than "
                    f"{MOST_EXPANDED} subschemas for one value; make it simpler",
                )
            sizes[one] = total
            return total

        for one in (root, *self._same):
            size(one)


def _compilable(pattern: Any, at: _Path) -> str:
    if not isinstance(pattern, str):
        raise SchemaRefused(at, "it must be a string")
    translated = python_pattern(pattern)
    try:
        re.compile(translated)
    except (re.error, OverflowError) as error:
        raise SchemaRefused(
            at, f"this regular expression does not compile here: {error}; change it"
        ) from None
    except RecursionError:
        raise SchemaRefused(at, "it is nested too deeply; make it simpler") from None
    return translated
