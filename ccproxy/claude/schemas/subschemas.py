"""The subschemas of a schema, in all drafts, and references to them. Pure.

Source: JSON Schema 2020-12 and older, "JSON Pointer fragment identifiers"; RFC 6901.
"""

from collections.abc import Callable, Mapping
from typing import Any

# The keywords that hold subschemas, in three groups by the form of the value. The value
# of `items` or `dependencies` can have several forms. So a keyword of a group counts
# only if its value has the form of this group.
# The value is a subschema.
SINGLE = frozenset(
    (
        *("additionalItems", "additionalProperties", "contains", "contentSchema"),
        *("else", "if", "items", "not", "propertyNames", "then"),
        *("unevaluatedItems", "unevaluatedProperties"),
    )
)
# The value is a list of subschemas.
LISTS = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
# The value is an object of subschemas by name.
MAPS = frozenset(
    (
        *("$defs", "definitions", "dependencies", "dependentSchemas"),
        *("patternProperties", "properties"),
    )
)


def target_of(root: Any, reference: str) -> Any:
    """The target of a reference; None: the target is not a part of ``root``."""
    if not _is_pointer(reference):
        return None
    found: Any = root
    for step in reference.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def renamed_references(schema: Any, rename: Callable[[str], str]) -> Any:
    """Rewrite the references in a schema.

    Args:
        schema: decoded JSON.
        rename: returns the new JSON pointer for an old one.
    """
    if isinstance(schema, list):
        return [renamed_references(each, rename) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "$ref" and isinstance(value, str) and _is_pointer(value):
            found[name] = f"#{rename(value[1:])}"
        elif name in MAPS and isinstance(value, Mapping):
            found[name] = {k: renamed_references(v, rename) for k, v in value.items()}
        elif name in SINGLE or name in LISTS:
            found[name] = renamed_references(value, rename)
        else:
            found[name] = value
    return found


def _is_pointer(reference: str) -> bool:
    return reference == "#" or reference.startswith("#/")
