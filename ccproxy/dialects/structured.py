"""Structured output, as both dialects ask for it: a JSON Schema for the answer. Pure.

The CLI makes a tool of the schema, whose input is the answer; so the schema is one of
an object, as OpenAI has it too.

Source: ``ResponseFormatJsonSchema`` and ``TextResponseFormatConfiguration`` in OpenAI's
document; protocol notes, "Tools".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ccproxy.dialects.json_schema import check_object, check_shape
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import MissingParameter

_ANY_OBJECT: Mapping[str, Any] = {"type": "object", "additionalProperties": True}


class _JSONSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Format(msgspec.Struct):
    """``response_format`` of chat completions, ``text.format`` of Responses."""

    type: str
    # Of Responses.
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    # Of chat completions.
    json_schema: _JSONSchema | None = None


def schema_of(form: Format | None, param: str) -> Mapping[str, Any] | None:
    """The schema that the answer has to satisfy; None: it may be any text.

    Args:
        form: what the request says.
        param: its path.

    Raises:
        ClientError: a format that there is not, or a schema of something else than an
            object.
    """
    match form:
        case None | Format(type="text"):
            return None
        case Format(type="json_object"):
            return _ANY_OBJECT
        case Format(type="json_schema", json_schema=None):
            return _object(form.schema, f"{param}.schema")
        case Format(type="json_schema", json_schema=_JSONSchema(schema=schema)):
            return _object(schema, f"{param}.json_schema.schema")
    unsupported(
        f"{param}.type",
        f"{form.type!r} is no format; there are text, json_schema and json_object",
    )


def _object(schema: Mapping[str, Any] | None, param: str) -> Mapping[str, Any]:
    if schema is None:
        raise MissingParameter(f"`{param}` is missing", param=param)
    check_object(schema, param)
    check_shape(schema, param)
    return {"type": "object", **schema}


def echo_format(form: Format | None) -> Mapping[str, Any]:
    """The format as a response repeats it; only of one that has a schema."""
    match form:
        case None | Format(type="text"):
            return {"type": "text"}
        case Format(type="json_object"):
            return {"type": "json_object"}
    inner = form.json_schema
    return {
        "type": "json_schema",
        "name": form.name or "answer",
        "description": form.description,
        "schema": form.schema if inner is None else inner.schema,
        "strict": form.strict or False,
    }
