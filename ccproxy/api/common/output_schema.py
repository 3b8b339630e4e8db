"""Structured output: the JSON Schema that the answer has to follow. Pure.

Chat completions and Responses ask for it; `ccproxy.claude.body.output` decides how the
model is made to follow it.

Source: ``ResponseFormatJsonSchema`` and ``TextResponseFormatConfiguration`` in OpenAI's
document; ``OutputConfigParam`` of anthropic-python 2.14.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.decoding import required
from ccproxy.api.common.tools import object_schema
from ccproxy.core.errors import unsupported
from ccproxy.core.messages import OutputConfig, OutputValue, parsed

_NOTHING_SAID = Raw(b'{"type":"object"}')
_NULL = Raw(b"null")
# Fields of the Messages API for which `output_paths` returns the client's names.
_EFFORT = "output_config.effort"
_FORMAT = "output_config.format"


class _JSONSchema(msgspec.Struct):
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """``response_format`` of chat completions, ``text.format`` of Responses."""

    type: str
    # Of Responses.
    name: str | None = None
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None
    # Of chat completions.
    json_schema: _JSONSchema | None = None


def output_config(
    form: ResponseFormat | None, param: str, effort: str | None = None
) -> OutputConfig | None:
    """The ``output_config`` for a format and an effort.

    Args:
        form: the format in the request.
        param: its path.
        effort: by the Messages API's names.

    Returns:
        None if the request sets neither.

    Raises:
        ClientError: an unknown format, or a schema that is not one of an object.
    """
    made = _format(form, param)
    if made is None and effort is None:
        return None
    about = {"effort": effort or UNSET, "format": made or UNSET}
    return parsed(OutputValue, param, **about)


def output_paths(
    form: ResponseFormat | None, param: str, effort_param: str
) -> dict[str, str]:
    """The client's names for the fields of ``output_config``.

    Args:
        form: the format in the request.
        param: its path.
        effort_param: the path of the effort.
    """
    paths = {_EFFORT: effort_param}
    if form is not None:
        nested = f"{param}.json_schema" if form.json_schema is not None else param
        paths |= {_FORMAT: param, f"{_FORMAT}.schema": f"{nested}.schema"}
    return paths


def _format(form: ResponseFormat | None, param: str) -> Mapping[str, object] | None:
    match form:
        case None | ResponseFormat(type="text"):
            return None
        case ResponseFormat(type="json_object"):
            return {"type": "json_object"}
        case ResponseFormat(type="json_schema", json_schema=None):
            return _schema(form.schema, f"{param}.schema")
        case ResponseFormat(type="json_schema", json_schema=_JSONSchema(schema=schema)):
            return _schema(schema, f"{param}.json_schema.schema")
    unsupported(
        f"{param}.type",
        f"{form.type!r} is not a format; the formats are text, json_schema and "
        "json_object",
    )


def _schema(schema: Raw | UnsetType, param: str) -> Mapping[str, object]:
    given = required(None if schema == _NULL else schema, param)
    checked = object_schema(given, param, or_else=_NOTHING_SAID)
    return {"type": "json_schema", "schema": checked}


def echo_format(form: ResponseFormat | None) -> Mapping[str, Any]:
    """The format as a response repeats it."""
    match form:
        case None | ResponseFormat(type="text"):
            return {"type": "text"}
        case ResponseFormat(type="json_object"):
            return {"type": "json_object"}
    schema = form.schema if form.json_schema is None else form.json_schema.schema
    return {
        "type": "json_schema",
        "name": form.name or "answer",
        "description": form.description,
        "schema": None if isinstance(schema, UnsetType) else schema,
        "strict": form.strict or False,
    }
