r"""The known drafts of JSON Schema, their rules, and the texts of their errors. Pure.

Regular expressions in schemas have JavaScript's syntax. Named groups and Unicode's
general categories are translated to Python's syntax. Python does not support other
properties of characters, such as ``\p{Script=Greek}``.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain
from typing import Any

import msgspec
from attrs import frozen
from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)
from jsonschema.exceptions import ValidationError
from jsonschema_specifications import REGISTRY
from referencing import Specification
from referencing.jsonschema import DRAFT4, DRAFT6, DRAFT7, DRAFT201909, DRAFT202012

_VALUE_CHARACTERS = 120
_PATH_CHARACTERS = 200
_DEFAULT = "json-schema.org/draft/2020-12/schema"
_PROPERTY = r"\\([pP])\{(?:gc=|General_Category=)?([A-Z][a-z]?)\}"
# An escape, or a class, is matched as a whole.
_DIFFERENT = re.compile(
    rf"{_PROPERTY}|\\k<(\w+)>|\\.|(\[(?:\\.|[^\]\\])*\])|\(\?<(?=[A-Za-z_])", re.DOTALL
)
_IN_CLASS = re.compile(rf"{_PROPERTY}|\\.", re.DOTALL)
# No characters are assigned in the planes between these ranges.
_ASSIGNED = (range(0x40000), range(0xE0000, sys.maxunicode + 1))


class SchemaRefused(Exception):
    """A schema cannot be used; the message says why.

    Attributes:
        path: the faulty part of the schema, as keys and indices.
    """

    def __init__(self, path: Iterable[str | int], why: str) -> None:
        super().__init__(why)
        self.path = tuple(path)


def expectation(error: ValidationError) -> str:
    """The violated expectation, such as "does not satisfy `minimum`: 3".

    The text quotes the schema, but only names of properties of the instance: a model's
    answer may be secret, and errors are logged.
    """
    keyword: Any = error.validator
    value: Any = error.validator_value
    instance: Any = error.instance
    if keyword is None or (keyword == "not" and value in ({}, True)):
        return "must not be there"
    if keyword == "required" and isinstance(value, list):
        missing = next((name for name in value if name not in instance), None)
        return f"must have the property {shown(missing)}"
    if keyword == "additionalProperties" and value is False:
        known = error.schema.get("properties", {})
        patterns = error.schema.get("patternProperties", {})
        for name in instance:
            if name not in known and not any(re.search(p, name) for p in patterns):
                return f"must not have the property {shown(name)}"
    return f"does not satisfy `{keyword}`: {shown(value)}"


def shown(value: Any) -> str:
    """A value as JSON, cut short."""
    return cut(msgspec.json.encode(value).decode(), _VALUE_CHARACTERS)


def cut(text: str, most: int = _VALUE_CHARACTERS) -> str:
    """A text, shortened to at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def path_text(path: Iterable[str | int], root: str) -> str:
    """A path in the form of ``properties.a.items[0]``.

    Args:
        path: keys and indices.
        root: the beginning of the text; it may be empty.
    """
    text = root
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$-]*", part):
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
        if len(text) > _PATH_CHARACTERS:
            return cut(text, _PATH_CHARACTERS)
    return text


@frozen
class SchemaDraft:
    """A draft of JSON Schema.

    Attributes:
        validator: the class of jsonschema.
        specification: the object of referencing, for identifiers and anchors.
        is_ref_alone: whether keywords beside a ``$ref`` are ignored.
    """

    validator: Any
    specification: Specification[Any]
    is_ref_alone: bool = False


_LATEST = SchemaDraft(Draft202012Validator, DRAFT202012)
# By `$schema` without scheme and fragment, which differ in practice.
_DRAFTS: Mapping[str, SchemaDraft] = {
    _DEFAULT: _LATEST,
    # genson writes this for the latest draft.
    "json-schema.org/schema": _LATEST,
    "spec.openapis.org/oas/3.1/dialect/base": _LATEST,
    "json-schema.org/draft/2019-09/schema": SchemaDraft(
        Draft201909Validator, DRAFT201909
    ),
    "json-schema.org/draft-07/schema": SchemaDraft(Draft7Validator, DRAFT7, True),
    "json-schema.org/draft-06/schema": SchemaDraft(Draft6Validator, DRAFT6, True),
    "json-schema.org/draft-04/schema": SchemaDraft(Draft4Validator, DRAFT4, True),
}


def draft_of(document: Any) -> SchemaDraft:
    """The draft that a schema names; 2020-12 if it names none.

    Raises:
        SchemaRefused: the draft is not known.
    """
    named = document.get("$schema") if isinstance(document, dict) else None
    if named is None:
        return _LATEST
    key = re.sub(r"^https?://|#$", "", named) if isinstance(named, str) else ""
    if key not in _DRAFTS:
        known = ", ".join(sorted(name for name in _DRAFTS if "draft" in name))
        raise SchemaRefused(("$schema",), f"it must be one of {known}")
    return _DRAFTS[key]


@cache
def rules(draft: SchemaDraft) -> Any:
    """A validator for one subschema, without the subschemas in it.

    The caller visits all subschemas anyway. Checking each of them with this validator
    takes a tenth of the time of ``check_schema``: 40 µs for each subschema.
    """
    meta = draft.validator.META_SCHEMA
    kind = meta["type"]

    def flat(node: Any, resolver: Any) -> Any:
        if isinstance(node, list):
            return [flat(inner, resolver) for inner in node]
        if not isinstance(node, dict):
            return node
        ref = node.get("$ref")
        if "$dynamicRef" in node or "$recursiveRef" in node or ref == "#":
            return {"type": kind}
        if isinstance(ref, str):
            target = resolver.lookup(ref)
            beside = {name: inner for name, inner in node.items() if name != "$ref"}
            return {
                **flat(target.contents, target.resolver),
                **flat(beside, resolver),
            }
        return {name: flat(inner, resolver) for name, inner in node.items()}

    resolver: Any = REGISTRY.resolver(draft.validator.ID_OF(meta).rstrip("#"))
    parts = [(meta, resolver)]
    for vocabulary in meta.get("allOf", ()):
        target = resolver.lookup(vocabulary["$ref"])
        parts.append((target.contents, target.resolver))
    properties: dict[str, Any] = {}
    for part, its_resolver in parts:
        for keyword, rule in part["properties"].items():
            properties[keyword] = flat(rule, its_resolver)
    flattened = {"type": kind, "properties": properties}
    if "dependencies" in meta:
        flattened["dependencies"] = meta["dependencies"]
    return draft.validator(flattened)


def python_pattern(pattern: str) -> str:
    """Translate a regular expression of JavaScript to Python.

    Cost: 50 ms for the first category in a process, 1 to 5 ms for each further one.
    """

    def in_class(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        return _characters(found[2], found[1] == "P")

    def translate(found: re.Match[str]) -> str:
        if found[1] is not None:
            return f"[{_characters(found[2], found[1] == 'P')}]"
        if found[3] is not None:
            return f"(?P={found[3]})"
        if found[4] is not None:
            return _IN_CLASS.sub(in_class, found[4])
        return "(?P<" if found[0] == "(?<" else found[0]

    return _DIFFERENT.sub(translate, pattern)


def _characters(category: str, is_negated: bool) -> str:
    """The characters of a category, or all others, for use in a character class.

    An unknown category has no characters, and an empty class does not compile.
    """
    text = ""
    is_in = False
    for start, its in (*_starts(), (sys.maxunicode + 1, "")):
        is_next = its != "" and its.startswith(category) != is_negated
        if is_next and not is_in:
            text += f"\\U{start:08x}-"
        elif is_in and not is_next:
            text += f"\\U{start - 1:08x}"
        is_in = is_next
    return text


@cache
def _starts() -> list[tuple[int, str]]:
    """Each first character of a range of one category, with the category."""
    found = []
    last = ""
    for code in chain(*_ASSIGNED):
        category = unicodedata.category(chr(code))
        if category != last:
            found.append((code, category))
            last = category
    return found
