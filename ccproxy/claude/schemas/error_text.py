"""Short texts about errors in schemas and instances, without values of these. Pure."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from jsonschema.exceptions import ValidationError

_VALUE_CHARACTERS = 120
_PATH_CHARACTERS = 200


class SchemaRefused(Exception):
    """A schema cannot be used; the text says why.

    Attributes:
        path: the faulty part of the schema, as keys and indices.
    """

    def __init__(self, path: Iterable[str | int], why: str) -> None:
        super().__init__(why)
        self.path = tuple(path)


def expectation(error: ValidationError) -> str:
    """The violated expectation, such as "does not satisfy `minimum`: 3".

    The text quotes the schema. Of the instance it quotes names of properties only: a
    model's answer may be secret, and errors are logged.
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
