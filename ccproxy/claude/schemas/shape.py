"""Checks the types of the keywords in the schemas of tools. Pure.

The Messages API requires draft 2020-12, and refuses the whole request if a schema
breaks its rules. The errors of this module name the path in the client's request.

`jsonschema.Draft202012Validator.check_schema` checks more (patterns, ``$anchor``,
duplicates in ``required``). But it takes 84 ms where this module takes 0.1 ms (4 kB
with 40 properties), and it would block the reactor, too. It also fails with a
RecursionError at 400 levels, and its errors lack the path. The provider reports the
faults that only `check_schema` would find.

Source: the vocabularies of JSON Schema 2020-12.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from ccproxy.core.errors import InvalidRequest

_Type = Literal["array", "boolean", "integer", "null", "number", "object", "string"]
_Number = int | float
_Count = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
_OneOrMore = Annotated[list["_Schema | bool"], Meta(min_length=1)]
_Named = dict[str, "_Schema | bool"]


class _Schema(msgspec.Struct):
    """The keywords whose values must have a certain type; others may have any value."""

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


_decode = msgspec.json.Decoder(_Schema).decode


def check_shape(schema: Raw, param: str) -> None:
    """Check the types of the keywords in a schema and in all its subschemas.

    Args:
        schema: the schema as JSON.
        param: the schema's path in the request.

    Raises:
        InvalidRequest: a keyword has a wrong type; the message names its path.

    Cost: microseconds for each kilobyte.
    """
    try:
        _decode(schema)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"`{param}` is not a JSON Schema (draft 2020-12): {error}", param=param
        ) from None
    except RecursionError:
        raise InvalidRequest(f"`{param}` is nested too deeply", param=param) from None
