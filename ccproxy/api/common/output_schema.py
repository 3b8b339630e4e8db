"""Structured output: the JSON Schema that the answer has to follow. Pure.

Chat completions and Responses ask for it; `ccproxy.claude.body.output` decides how the
model is made to follow it.

Source: ``ResponseFormatJsonSchema`` and ``TextResponseFormatConfiguration`` in OpenAI's
document; ``OutputConfigParam`` of anthropic-python 2.14.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.decoding import Adjustments, located, required
from ccproxy.api.common.fates import granted, ignored
from ccproxy.core.blocks import parsed
from ccproxy.core.errors import unsupported
from ccproxy.core.messages import OutputConfig, OutputValue

_NULL = Raw(b"null")
# Fields of the Messages API for which `output_paths` returns the client's names.
# Why fields have no effect, or always have it.
_NO_NAMES = "the provider's format is the schema alone"
_STRICT = "an answer is always held to its schema"
_EFFORT = "output_config.effort"
_FORMAT = "output_config.format"


class _JSONSchema(msgspec.Struct):
    schema: Raw | UnsetType = UNSET
    strict: Annotated[bool | None, granted(_STRICT)] = None
    name: Annotated[object, ignored(_NO_NAMES)] = None
    description: str | None = None


class ResponseFormat(msgspec.Struct):
    """``response_format`` of chat completions, ``text.format`` of Responses."""

    type: str
    # In Responses, which repeats the format.
    name: str | None = None
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: Annotated[bool | None, granted(_STRICT)] = None
    # In chat completions.
    json_schema: _JSONSchema | None = None


def output_config(
    form: ResponseFormat | None,
    param: str,
    adjustments: Adjustments,
    effort: str | None = None,
) -> OutputConfig | None:
    """The ``output_config`` for a format and an effort.

    Args:
        form: the format in the request.
        param: its path.
        adjustments: get the path of a description that cannot be sent.
        effort: by the Messages API's names.

    Returns:
        None if the request sets neither.

    Raises:
        ClientError: an unknown format, or one without a schema.
    """
    made = _format(form, param, adjustments)
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


def _format(
    form: ResponseFormat | None, param: str, adjustments: Adjustments
) -> Mapping[str, object] | None:
    match form:
        case None | ResponseFormat(type="text"):
            return None
        case ResponseFormat(type="json_object"):
            return {"type": "json_object"}
        case ResponseFormat(type="json_schema", json_schema=None):
            given = _JSONSchema(form.schema, description=form.description)
            return _schema(given, param, adjustments)
        case ResponseFormat(type="json_schema", json_schema=_JSONSchema() as given):
            return _schema(given, f"{param}.json_schema", adjustments)
    unsupported(
        f"{param}.type",
        f"{form.type!r} is not a format; the formats are text, json_schema and "
        "json_object",
    )


def _schema(
    given: _JSONSchema, at: str, adjustments: Adjustments
) -> Mapping[str, object]:
    param = f"{at}.schema"
    schema = required(None if given.schema == _NULL else given.schema, param)
    if given.description:
        with located(param):
            fields = msgspec.json.decode(schema, type=dict[str, Raw])
        # The Messages API has a description in the schema only.
        if "description" in fields:
            adjustments.ignore(f"{at}.description")
        else:
            about = {"description": given.description}
            schema = Raw(msgspec.json.encode({**about, **fields}))
    return {"type": "json_schema", "schema": schema}


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
