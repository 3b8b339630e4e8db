"""Converts tools of other shapes to the shape of Responses. Pure.

===============================  =================================================
a tool with                      becomes
===============================  =================================================
``{"function": {…}}`` or         a tool without nesting; this is the form of chat
``{"custom": {…}}``              completions
no ``type``                      ``custom`` if there is a ``format``, else
                                 ``function``
``type: custom``, and            a function; this is the form of the Messages API
``input_schema``
===============================  =================================================

A function may have ``input_schema`` instead of ``parameters``. The ``type`` of any
other tool is not changed.
"""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common.decoding import decode_json, is_null
from ccproxy.core.errors import MissingParameter
from ccproxy.core.messages import Adjustments

_FUNCTION, _CUSTOM = "function", "custom"

_fields_decoder = msgspec.json.Decoder(dict[str, Raw])


class _Form(msgspec.Struct):
    """The fields that determine the shape of a tool."""

    type: str | None = None
    function: dict[str, Raw] | None = None
    custom: dict[str, Raw] | None = None
    name: Raw | UnsetType = UNSET
    format: Raw | UnsetType = UNSET
    input_schema: Raw | UnsetType = UNSET
    parameters: Raw | UnsetType = UNSET


_form_decoder = msgspec.json.Decoder(_Form)


def plain(raw: bytes, at: str, adjustments: Adjustments) -> tuple[str, bytes, str]:
    """A tool's type, its JSON in the shape of Responses, and the path of its name.

    Args:
        raw: the JSON of a tool.
        at: the path of the tool.
        adjustments: records the paths of fields beside a nested tool.

    Raises:
        ClientError: ``type`` is not a text, a nested tool is not an object, or
            ``type`` is missing and does not follow from other fields.
    """
    form = decode_json(_form_decoder, raw, at=at)
    nested = _nested(form)
    if nested is not None:
        kind, inner = nested
        fields = decode_json(_fields_decoder, raw, at=at)
        others = (n for n in fields if n not in ("type", kind))
        adjustments.ignore(
            *(f"{at}.{name}" for name in others if not is_null(fields[name]))
        )
        return kind, _typed(inner, kind), f"{at}.{kind}"
    kind = _kind(form, at)
    if kind == form.type:
        return kind, raw, at
    return kind, _typed(decode_json(_fields_decoder, raw, at=at), kind), at


def _nested(form: _Form) -> tuple[str, dict[str, Raw]] | None:
    if form.function is not None and form.type in (None, _FUNCTION):
        return _FUNCTION, form.function
    if form.custom is not None and form.type in (None, _CUSTOM):
        return _CUSTOM, form.custom
    return None


def _kind(form: _Form, at: str) -> str:
    has_schema = _is_set(form.input_schema)
    if form.type == _CUSTOM and has_schema:
        return _FUNCTION
    if form.type is not None:
        return form.type
    if not _is_set(form.name):
        raise MissingParameter(f"`{at}.type` is missing", param=f"{at}.type")
    is_function = has_schema or _is_set(form.parameters) or not _is_set(form.format)
    return _FUNCTION if is_function else _CUSTOM


def _is_set(value: Raw | UnsetType) -> bool:
    return not isinstance(value, UnsetType) and not is_null(value)


def _typed(fields: dict[str, Raw], kind: str) -> bytes:
    return msgspec.json.encode({**fields, "type": kind})
