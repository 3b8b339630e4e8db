"""Structured output: a schema that the CLI takes, and the check of what it gives. Pure.

The CLI makes a tool of the schema, and lets the model try again until its input
satisfies it. It knows JSON Schema draft 7 only, and a schema with one keyword that it
does not know is dropped without a word; so it is given what it knows, and the answer is
checked here against all of it.

Source: protocol notes, "Tools"; CLI 2.1.330 with some forty schemas.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from attrs import field, frozen
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from ccproxy.claude.protocol.records import UserBody
from ccproxy.errors import SchemaNotSatisfied

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
# Groups and anchors that Python's regular expressions have and JavaScript's have not.
_PYTHON_ONLY = re.compile(r"\(\?(?![:=!<])|\(\?<(?![=!a-zA-Z_])|\\[AZ]")


def understood(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What of a schema the CLI understands; the rest is left out."""
    return _walk(schema, _is_javascript)


def _walk(
    schema: Mapping[str, Any], takes_pattern: Callable[[str], bool]
) -> dict[str, Any]:
    """The known keywords, down through all subschemas."""

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


def _is_python(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@frozen
class AnswerForm:
    """What an answer has to be."""

    schema: Mapping[str, Any]
    _validator: Draft202012Validator = field(init=False)

    @_validator.default
    def _make_validator(self) -> Draft202012Validator:
        # Without a registry of its own it would fetch what a schema refers to.
        return Draft202012Validator(_checkable(self.schema), registry=Registry())

    def problem(self, text: str) -> str | None:
        """What is wrong with an answer; None: it is what was asked for."""
        try:
            answer = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            return f"it is not JSON: {error}"
        try:
            found = best_match(self._validator.iter_errors(answer))
        except (Unresolvable, RecursionError):
            return "its `$ref`s lead nowhere, or round and round"
        if found is None:
            return None
        # Not the message: it quotes the answer.
        return f"{found.json_path} does not satisfy `{found.validator}`"


def _checkable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without patterns that only JavaScript can read."""

    def strip(value: Any) -> Any:
        if isinstance(value, list):
            return [strip(inner) for inner in value]
        if not isinstance(value, Mapping):
            return value
        kept = {}
        for name, inner in value.items():
            if name == "pattern" and isinstance(inner, str) and not _is_python(inner):
                continue
            if name == "patternProperties" and isinstance(inner, Mapping):
                inner = {k: v for k, v in inner.items() if _is_python(k)}
            is_value = name in ("const", "enum", "default")
            kept[name] = inner if is_value else strip(inner)
        return kept

    checkable: dict[str, Any] = strip({k: v for k, v in schema.items() if k != "$id"})
    return checkable


class StructuredAnswer:
    """The answer in the making: the input of the CLI's own tool.

    Invariant: at most one call is the answer; what was rejected is none.
    """

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._id: str | None = None
        self._is_open = False
        self._text: list[str] = []

    @property
    def is_given(self) -> bool:
        """Whether there is an answer, or the beginning of one."""
        return self._id is not None

    def open(self, identifier: str) -> bool:
        """Begin an answer; False: there was another, which is void now."""
        is_first = self._id is None
        self._id, self._is_open = identifier, True
        self._text.clear()
        return is_first

    def said(self, json: str) -> bool:
        """Take a piece of a call's input; False: it is not the answer's."""
        if self._is_open:
            self._text.append(json)
        return self._is_open

    def close(self) -> None:
        """Note that another block begins."""
        self._is_open = False

    def void(self) -> None:
        """Forget the answer, because its message was lost."""
        self._id, self._is_open = None, False
        self._text.clear()

    def rejected(self, turn: UserBody) -> str | None:
        """Whether the CLI tells the model that the answer will not do, and why."""
        for block in turn.content if isinstance(turn.content, list) else ():
            if block.tool_use_id == self._id and block.is_error:
                why = self._form.problem("".join(self._text)) or "it was not accepted"
                self.void()
                return f"the model's answer did not satisfy the schema ({why})"
        return None

    def error(self) -> SchemaNotSatisfied | None:
        """Why the turn has no answer at its end; None: it has."""
        if self._id is None:
            return SchemaNotSatisfied(
                "the model answered in prose, and not by the schema; try again, or "
                "describe better what you want"
            )
        why = self._form.problem("".join(self._text))
        if why is None:
            return None
        return SchemaNotSatisfied(
            f"the model's answer does not satisfy the schema: {why}; try again"
        )
