"""Structured output: decodes the format that an answer must have. Pure.

The field is ``response_format`` in chat completions, and ``text.format`` in Responses.
`ccproxy.claude.body.output` decides how the model is made to follow a schema.

Source: ``ResponseFormatJsonSchema`` and ``TextResponseFormatConfiguration`` in OpenAI's
document; ``OutputConfigParam`` of anthropic-python 2.14.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.decoding import located, required
from ccproxy.api.common.fates import granted, ignored, name_unused
from ccproxy.core.blocks import parsed
from ccproxy.core.errors import unsupported
from ccproxy.core.messages import Adjustments, OutputConfig, OutputValue

_NULL = Raw(b"null")
# The reasons for the fates of fields.
_NO_NAMES = "the provider's format is the schema alone"
_STRICT = "an answer must always follow its schema"
# Paths of the Messages API.
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
    # Fields of Responses. A response repeats them.
    name: str | None = None
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: Annotated[bool | None, granted(_STRICT)] = None
    # The field of chat completions.
    json_schema: _JSONSchema | None = None


def output_config(
    form: ResponseFormat | None,
    param: str,
    adjustments: Adjustments,
    effort: str | None = None,
) -> OutputConfig | None:
    """The ``output_config`` of the Messages API for a format and an effort.

    Args:
        form: the format in the request; None: there is none.
        param: the path of the format.
        adjustments: records the path of a description that cannot be sent.
        effort: an effort of the Messages API; None: the request sets none.

    Returns:
        None if the request sets neither a format nor an effort.

    Raises:
        ClientError: the format is unknown, or has no schema.
    """
    made = _format(form, param, adjustments)
    if made is None and effort is None:
        return None
    about = {"effort": effort or UNSET, "format": made or UNSET}
    return parsed(OutputValue, param, **about)


def output_paths(
    form: ResponseFormat | None, param: str, effort_param: str
) -> dict[str, str]:
    """Map paths of ``output_config`` to the client's paths.

    Args:
        form: the format in the request; None: there is none.
        param: the path of the format.
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
    if form is not None:
        is_nested = form.json_schema is not None
        used = ("json_schema",) if is_nested else ("name", "description", "schema")
        is_schema = form.type == "json_schema"
        name_unused(form, ("type", *(used if is_schema else ())), adjustments, param)
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
        # In the Messages API, only the schema has a description.
        if "description" in fields:
            adjustments.ignore(f"{at}.description")
        else:
            about = {"description": given.description}
            schema = Raw(msgspec.json.encode({**about, **fields}))
    return {"type": "json_schema", "schema": schema}


def echo_format(form: ResponseFormat | None) -> Mapping[str, Any]:
    """The format as it is repeated in a response."""
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
