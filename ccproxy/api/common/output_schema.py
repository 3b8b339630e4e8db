"""Structured output: the JSON Schema that the answer has to follow. Pure.

Chat completions and Responses ask for it; `ccproxy.claude.body.output` decides how the
model is made to follow it.

The Messages API requires draft 2020-12, and refuses the whole request if a schema
breaks its rules. An error from here names the place in the client's request.

`jsonschema.Draft202012Validator.check_schema` checks more (patterns, ``$anchor``,
duplicates in ``required``), but runs on the reactor's thread as well, and takes 84 ms
where this takes 0.1 ms: measured for 4 kB with 40 properties. It also fails with a
RecursionError at 400 levels, and its errors lack the path. What it finds beyond this
check, the provider reports.

Source: ``ResponseFormatJsonSchema`` and ``TextResponseFormatConfiguration`` in OpenAI's
document; ``OutputConfigParam`` of anthropic-python 2.14; the vocabularies of JSON
Schema 2020-12.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from ccproxy.api.common.decoding import required
from ccproxy.api.common.fates import granted, ignored
from ccproxy.core.errors import InvalidRequest, unsupported
from ccproxy.core.messages import OutputConfig, OutputValue, parsed

_Type = Literal["array", "boolean", "integer", "null", "number", "object", "string"]
_Number = int | float
_Count = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
_OneOrMore = Annotated[list["_Schema | bool"], Meta(min_length=1)]
_Named = dict[str, "_Schema | bool"]
_ANY_OBJECT = Raw(b'{"type":"object"}')
_NULL = Raw(b"null")
# Fields of the Messages API for which `output_paths` returns the client's names.
# Why fields have no effect, or always have it.
_NO_NAMES = "the provider's format is the schema alone"
_STRICT = "an answer is always held to its schema"
_EFFORT = "output_config.effort"
_FORMAT = "output_config.format"


class _Schema(msgspec.Struct):
    """The keywords whose values are checked; other keywords may have any value."""

    type: _Type | list[_Type] = "object"
    ref: str = msgspec.field(name="$ref", default="")
    dynamic_ref: str = msgspec.field(name="$dynamicRef", default="")
    id: str = msgspec.field(name="$id", default="")
    anchor: str = msgspec.field(name="$anchor", default="")
    comment: str = msgspec.field(name="$comment", default="")
    defs: _Named = msgspec.field(name="$defs", default_factory=dict)
    definitions: _Named = {}
    description: str = ""
    format: str = ""
    pattern: str = ""
    enum: list[Any] = []
    required: list[str] = []
    properties: _Named = {}
    patternProperties: _Named = {}  # noqa: N815
    dependentSchemas: _Named = {}  # noqa: N815
    dependentRequired: dict[str, list[str]] = {}  # noqa: N815
    dependencies: dict[str, Any] = {}
    additionalProperties: "_Schema | bool" = True  # noqa: N815
    unevaluatedProperties: "_Schema | bool" = True  # noqa: N815
    propertyNames: "_Schema | bool" = True  # noqa: N815
    items: "_Schema | bool" = True
    unevaluatedItems: "_Schema | bool" = True  # noqa: N815
    contains: "_Schema | bool" = True
    prefixItems: _OneOrMore = []  # noqa: N815
    allOf: _OneOrMore = []  # noqa: N815
    anyOf: _OneOrMore = []  # noqa: N815
    oneOf: _OneOrMore = []  # noqa: N815
    no: "_Schema | bool" = msgspec.field(name="not", default=True)
    condition: "_Schema | bool" = msgspec.field(name="if", default=True)
    then: "_Schema | bool" = True
    otherwise: "_Schema | bool" = msgspec.field(name="else", default=True)
    multipleOf: Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)] = 1  # noqa: N815
    maximum: _Number = 0
    minimum: _Number = 0
    exclusiveMaximum: _Number = 0  # noqa: N815
    exclusiveMinimum: _Number = 0  # noqa: N815
    maxLength: _Count = 0  # noqa: N815
    minLength: _Count = 0  # noqa: N815
    maxItems: _Count = 0  # noqa: N815
    minItems: _Count = 0  # noqa: N815
    maxProperties: _Count = 0  # noqa: N815
    minProperties: _Count = 0  # noqa: N815
    maxContains: _Count = 0  # noqa: N815
    minContains: _Count = 0  # noqa: N815
    uniqueItems: bool = False  # noqa: N815


_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def check_object(schema: Mapping[str, Any], param: str) -> None:
    """Check that the type of a schema is object.

    Args:
        schema: as it came.
        param: its path in the request.

    Raises:
        InvalidRequest: the type is not object.
    """
    if schema.get("type", "object") != "object":
        raise InvalidRequest(
            f"`{param}` must be a JSON Schema of type object; put other values into a "
            "property of an object",
            param=param,
        )


def has_other_draft(schema: Mapping[str, Any]) -> bool:
    """Whether a schema declares another draft than 2020-12."""
    return bool(schema.get("$schema", _DRAFT) != _DRAFT)


def check_shape(schema: Mapping[str, Any], param: str) -> None:
    """Check the shape of a schema and of all its subschemas.

    Args:
        schema: as it came.
        param: its path in the request.

    Raises:
        InvalidRequest: the schema is invalid; the message names the place.

    Cost: microseconds for each kilobyte.
    """
    try:
        msgspec.convert(schema, _Schema)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"`{param}` is not a JSON Schema (draft 2020-12): {error}", param=param
        ) from None
    except RecursionError:
        raise InvalidRequest(f"`{param}` is nested too deeply", param=param) from None


class _JSONSchema(msgspec.Struct):
    schema: Raw | UnsetType = UNSET
    strict: Annotated[bool | None, granted(_STRICT)] = None
    name: Annotated[object, ignored(_NO_NAMES)] = None
    description: Annotated[object, ignored(_NO_NAMES)] = None


class ResponseFormat(msgspec.Struct):
    """``response_format`` of chat completions, ``text.format`` of Responses."""

    type: str
    # In Responses, which repeats the format.
    name: str | None = None
    description: Annotated[str | None, ignored(_NO_NAMES)] = None
    schema: Raw | UnsetType = UNSET
    strict: Annotated[bool | None, granted(_STRICT)] = None
    # In chat completions.
    json_schema: _JSONSchema | None = None


def output_config(
    form: ResponseFormat | None, param: str, effort: str | None = None
) -> OutputConfig | None:
    """The ``output_config`` for a format and an effort.

    Args:
        form: the format in the request.
        param: its path.
        effort: the effort, by its name in the Messages API.

    Returns:
        None if the request sets neither.

    Raises:
        ClientError: an unknown format, or a schema that is not of type object.
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
    checked = object_schema(given, param, or_else=_ANY_OBJECT)
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


def object_schema(schema: Raw | None, at: str, *, or_else: Raw) -> Raw:
    """A JSON Schema of an object; unchanged if it has a ``type``.

    Args:
        schema: its JSON.
        at: its path in the request.
        or_else: the result for None, ``null`` and ``{}``.

    Raises:
        InvalidRequest: it is not a JSON Schema, or not of type object.
    """
    if schema is None:
        return or_else
    try:
        fields = msgspec.json.decode(schema, type=dict[str, Raw] | None)
        decoded = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"`{at}`: {error}", param=at) from None
    if not fields:
        return or_else
    check_object(decoded, at)
    if not has_other_draft(decoded):
        check_shape(decoded, at)
    if "type" in fields:
        return schema
    return Raw(msgspec.json.encode({"type": "object", **fields}))
