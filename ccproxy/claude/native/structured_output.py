"""Structured output of native mode: the schema for the CLI, and the answer. Pure.

The CLI makes a tool from the schema, and lets the model repeat its call until the input
satisfies the schema. The CLI knows only JSON Schema draft 7, and silently drops a
schema that has any other keyword. So the CLI gets only the keywords of draft 7, and the
proxy checks the answer against the whole schema.

Source: docs/claude-cli-protocol.md, "Tools"; CLI 2.1.330 with some forty schemas.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ccproxy.core.errors import SchemaNotSatisfied

# The name of the CLI's tool.
TOOL = "StructuredOutput"

_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("allOf", "anyOf", "oneOf")
_SCHEMAS = (
    *("not", "additionalProperties", "items", "propertyNames", "contains"),
    *("if", "then", "else"),
)
_PLAIN = (
    *("type", "enum", "const", "required", "format", "pattern", "$ref"),
    *("multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
    *("maxLength", "minLength", "maxItems", "minItems", "uniqueItems"),
    *("maxProperties", "minProperties", "title", "description", "default"),
    *("examples", "deprecated", "readOnly", "writeOnly", "$comment"),
    *("contentEncoding", "contentMediaType"),
)
# Groups and anchors of Python's regular expressions that JavaScript does not have.
_PYTHON_ONLY = re.compile(r"\(\?(?![:=!<])|\(\?<(?![=!a-zA-Z_])|\\[AZ]")


def understood(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a schema that the CLI accepts."""
    return _walk(schema, _is_javascript)


def _walk(
    schema: Mapping[str, Any], takes_pattern: Callable[[str], bool]
) -> dict[str, Any]:
    """The known keywords of a schema and all its subschemas."""

    def sub(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _walk(value, takes_pattern)
        return [sub(v) for v in value] if isinstance(value, list) else value

    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, Mapping):
            found[name] = {
                key: sub(inner)
                for key, inner in value.items()
                if name != "patternProperties" or takes_pattern(key)
            }
        elif name in _LISTS or name in _SCHEMAS:
            found[name] = sub(value)
        elif name in _PLAIN and (name != "pattern" or takes_pattern(str(value))):
            found[name] = value
    if not ("if" in found and ("then" in found or "else" in found)):
        for name in ("if", "then", "else"):
            found.pop(name, None)
    return found


def _is_javascript(pattern: str) -> bool:
    return _PYTHON_ONLY.search(pattern) is None


class _ResultBlock(msgspec.Struct):
    tool_use_id: str | None = None
    is_error: bool | None = None


class _UserTurn(msgspec.Struct):
    content: str | list[_ResultBlock] = ""


_decode_turn = msgspec.json.Decoder(_UserTurn | None).decode


class StructuredAnswer:
    """The answer that has a schema: the input of a call of the CLI's tool, in pieces.

    Only the last call that the CLI has not rejected is the answer.

    Attributes:
        is_open: whether the current block is the answer.
    """

    def __init__(self) -> None:
        self._id: str | None = None
        self.is_open = False
        self._text: list[str] = []

    @property
    def is_given(self) -> bool:
        """Whether an answer has begun."""
        return self._id is not None

    def open(self, identifier: str) -> bool:
        """Begin an answer; False: it replaces an earlier answer."""
        is_first = self._id is None
        self._id, self.is_open = identifier, True
        self._text.clear()
        return is_first

    def feed(self, json: str) -> bool:
        """Take a piece of a call's input; False: the call is not the answer."""
        if self.is_open:
            self._text.append(json)
        return self.is_open

    def close(self) -> None:
        """Note that another block begins."""
        self.is_open = False

    def void(self) -> None:
        """Drop the answer, because its message was lost."""
        self._id, self.is_open = None, False
        self._text.clear()

    def rejected(self, message: Raw) -> str | None:
        """Why the CLI has rejected the answer; None: it has not.

        Args:
            message: the ``message`` of a user's turn that the CLI has added.

        Raises:
            msgspec.DecodeError: the message has an unknown shape.
        """
        turn = _decode_turn(message)
        content = () if turn is None else turn.content
        for block in content if not isinstance(content, str) else ():
            if block.tool_use_id == self._id and block.is_error:
                self.void()
                return "the model's answer did not satisfy the schema"
        return None

    def error(self) -> SchemaNotSatisfied | None:
        """The error of a turn that ended without an answer; None: it has an answer."""
        if self._id is None:
            return SchemaNotSatisfied(
                "the model answered in prose instead of JSON; try again, or "
                "describe the wanted answer in more detail"
            )
        return None
