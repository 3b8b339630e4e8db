"""Rewrites JSON Schemas of older drafts to draft 2020-12. Pure.

The Messages API takes draft 2020-12 only, and refuses a request with any other schema.

====================================  =============================================
older keywords                        draft 2020-12
====================================  =============================================
``items`` with a list                 ``prefixItems``; ``additionalItems`` beside
(before 2020-12)                      the list becomes ``items``
``exclusiveMinimum: true`` beside     ``exclusiveMinimum`` with the limit; the same
``minimum`` (draft 4)                 for ``Maximum``
``required: true`` within a property  the name in ``required`` of the object
(draft 3)
``$id`` or ``id`` with ``#name``      ``$anchor``
(up to draft 7)
``$recursiveAnchor`` and              ``$dynamicAnchor`` and ``$dynamicRef``
``$recursiveRef`` (2019-09)
``$recursiveRef`` without             ``$ref: "#"``
``$recursiveAnchor`` (2019-09)
====================================  =============================================

References (JSON pointers) to rewritten keywords are rewritten, too. All other keywords
are unchanged, because draft 2020-12 has or ignores them.

Source: the release notes of the drafts 4 to 2020-12, and their metaschemas.
"""

import re
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from ccproxy.claude.schemas.subschemas import (
    LISTS,
    MAPS,
    SINGLE,
    renamed_references,
)

# The JSON of a schema without a match has none of the older keywords.
_OLDER = re.compile(
    rb'"(?:items"\s*:\s*\[|(?:exclusiveM(?:in|ax)imum|required|\$recursiveAnchor)"'
    rb'\s*:\s*[tf]|\$?id"\s*:\s*"#|\$recursiveRef")'
)
_ANCHOR = re.compile(r"#([A-Za-z_][-A-Za-z0-9._]*)")
_LATEST = "https://json-schema.org/draft/2020-12/schema"
_RECURSIVE = "recursive"
_RECURSIVE_ANCHOR, _RECURSIVE_REF = "$recursiveAnchor", "$recursiveRef"


def may_be_older(schema: bytes) -> bool:
    """Whether the JSON of a schema may have keywords of an older draft."""
    return _OLDER.search(schema) is not None


def upgraded(schema: Any) -> Any:
    """Rewrite a schema to draft 2020-12.

    Returns:
        The same object if nothing has to be rewritten.
    """
    upgrade = _Upgrade()
    found = upgrade.rewrite(schema, "", "", is_recursive=False)
    if found == schema:
        return schema
    return renamed_references(_declared(found), upgrade.new_place)


def _declared(schema: Any) -> Any:
    """Replace the draft that a schema declares, if any, by draft 2020-12."""
    return {**schema, "$schema": _LATEST} if "$schema" in schema else schema


@define
class _Upgrade:
    """One rewriting of a schema.

    Attributes:
        moved: the new JSON pointer of each renamed keyword, by its old JSON pointer.
    """

    moved: dict[str, str] = field(factory=dict)

    def new_place(self, pointer: str) -> str:
        """The new JSON pointer for an old one."""
        place = pointer
        while place:
            if place in self.moved:
                return self.moved[place] + pointer[len(place) :]
            place = place.rpartition("/")[0]
        return pointer

    def rewrite(self, schema: Any, old: str, new: str, *, is_recursive: bool) -> Any:
        """Rewrite a schema or subschema.

        Args:
            schema: decoded JSON.
            old: the JSON pointer of ``schema`` in the client's schema.
            new: the JSON pointer of the result in the rewritten schema.
            is_recursive: whether the schema resource around ``schema`` has a recursive
                anchor.
        """
        if not isinstance(schema, Mapping):
            return schema
        if not old or "$id" in schema:
            is_recursive = schema.get(_RECURSIVE_ANCHOR) is True

        def inner(value: Any, at: str, to: str) -> Any:
            return self.rewrite(value, at, to, is_recursive=is_recursive)

        is_tuple = isinstance(schema.get("items"), list) and "prefixItems" not in schema
        found: dict[str, Any] = {}
        for name, value in schema.items():
            key = str(_NEW_NAMES.get(name, name)) if is_tuple else str(name)
            at, to = f"{old}/{_escaped(name)}", f"{new}/{_escaped(key)}"
            if key != name:
                self.moved[at] = to
            if name in MAPS and isinstance(value, Mapping):
                found[key] = {
                    step: inner(
                        each, f"{at}/{_escaped(step)}", f"{to}/{_escaped(step)}"
                    )
                    for step, each in value.items()
                }
            elif name in LISTS and isinstance(value, list):
                # The draft does not allow an empty list.
                if value or key != "prefixItems":
                    found[key] = [
                        inner(each, f"{at}/{n}", f"{to}/{n}")
                        for n, each in enumerate(value)
                    ]
            else:
                found[key] = inner(value, at, to) if name in SINGLE else value
        _require(found, schema.get("properties"))
        _exclude(found, "minimum", "exclusiveMinimum")
        _exclude(found, "maximum", "exclusiveMaximum")
        _anchor(found)
        _recur(found, is_recursive=is_recursive)
        return found


_NEW_NAMES = {"items": "prefixItems", "additionalItems": "items"}


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _require(found: dict[str, Any], properties: Any) -> None:
    """Move ``required: true`` of properties to the object that has them."""
    if isinstance(found.get("required"), bool):
        del found["required"]
    if not isinstance(properties, Mapping):
        return
    names = [
        name
        for name, value in properties.items()
        if isinstance(value, Mapping) and value.get("required") is True
    ]
    if names:
        found["required"] = [*found.get("required", ()), *names]


def _exclude(found: dict[str, Any], limit: str, exclusive: str) -> None:
    is_exclusive = found.get(exclusive)
    if not isinstance(is_exclusive, bool):
        return
    del found[exclusive]
    if is_exclusive and limit in found:
        found[exclusive] = found.pop(limit)


def _anchor(found: dict[str, Any]) -> None:
    for name in ("$id", "id"):
        match = _ANCHOR.fullmatch(str(found.get(name)))
        if match is not None:
            del found[name]
            found["$anchor"] = match[1]


def _recur(found: dict[str, Any], *, is_recursive: bool) -> None:
    if isinstance(found.get(_RECURSIVE_ANCHOR), bool) and found.pop(_RECURSIVE_ANCHOR):
        found["$dynamicAnchor"] = _RECURSIVE
    if found.get(_RECURSIVE_REF) != "#":
        return
    if is_recursive:
        del found[_RECURSIVE_REF]
        found["$dynamicRef"] = f"#{_RECURSIVE}"
    elif "$ref" not in found:
        del found[_RECURSIVE_REF]
        found["$ref"] = "#"
