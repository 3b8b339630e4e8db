"""Wraps an answer of any type as the only property of an object. Pure.

The arguments of a tool are always an object. If the answer may be a list, a text or
another value, the proxy's tool has the schema of an object whose only property is the
answer. The client gets only the property's value.

========  ==================================  ========================================
state     input                               passed on; next state
========  ==================================  ========================================
OPENING   a part of ``{"value": ``            nothing
OPENING   the end of ``{"value": ``           nothing: VALUE
OPENING   anything else                       the whole input: FOREIGN
VALUE     a piece of the value                the piece, without white space at its end
VALUE     ``}`` or ``,`` after the value      nothing: CLOSED
CLOSED    anything                            nothing
FOREIGN   anything                            the input
========  ==================================  ========================================
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from ccproxy.claude.schemas.subschemas import renamed_references, target_of

# The property with the value.
VALUE = "value"
_OPENING_PIECES = ("{", f'"{VALUE}"', ":")
# The characters that determine where a value ends.
_SIGN = re.compile(r'["\\{}\[\],]')
_QUOTE, _ESCAPE = '"', "\\"
_BLANKS = " \t\r\n"


def allows_objects_only(schema: Any) -> bool:
    """Whether a schema allows only objects; a schema without a type counts, too."""
    return _is_of_objects(schema, schema, frozenset())


def _is_of_objects(schema: Any, root: Any, seen: frozenset[str]) -> bool:
    if not isinstance(schema, Mapping):
        return False
    if "type" in schema:
        return schema["type"] in ("object", ["object"])
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return all(isinstance(value, Mapping) for value in values)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        target = target_of(root, reference)
        if target is not None:
            return _is_of_objects(target, root, seen | {reference})
    for keyword, decide in (("anyOf", all), ("oneOf", all), ("allOf", any)):
        if keyword in schema:
            return decide(_is_of_objects(b, root, seen) for b in schema[keyword])
    return True


def wrapped(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object whose only property has the schema ``schema``."""
    inner = schema
    if "$id" not in schema:
        # References are relative to the nearest identifier, or else to the root.
        inner = renamed_references(schema, lambda place: f"/properties/{VALUE}{place}")
    return {
        "type": "object",
        "properties": {VALUE: inner},
        "required": [VALUE],
        "additionalProperties": False,
    }


class _State(Enum):
    OPENING = auto()
    VALUE = auto()
    CLOSED = auto()
    FOREIGN = auto()


class ValueDecoder:
    """Decodes ``{"value": …}`` to the JSON of the value, in pieces of any size.

    The model may call the tool with arguments of another form. Such arguments are
    passed on unchanged; they do not satisfy the schema.
    """

    def __init__(self) -> None:
        self._state = _State.OPENING
        # JSON that cannot be passed on before more of it arrives.
        self._held = ""
        self._depth = 0
        self._is_text = False
        self._is_escaped = False

    def feed(self, json: str) -> str:
        """Decode a piece of the JSON; returns the next piece of the value."""
        match self._state:
            case _State.CLOSED:
                return ""
            case _State.FOREIGN:
                return json
            case _State.VALUE:
                return self._value(json)
        self._held += json
        rest = self._held
        for piece in _OPENING_PIECES:
            rest = rest.lstrip(_BLANKS)
            if len(rest) < len(piece) and piece.startswith(rest):
                return ""
            if not rest.startswith(piece):
                self._state = _State.FOREIGN
                return self.end()
            rest = rest[len(piece) :]
        rest = rest.lstrip(_BLANKS)
        if not rest:
            return ""
        self._state, self._held = _State.VALUE, ""
        return self._value(rest)

    def end(self) -> str:
        """Return the rest of the value; call it at the end of the arguments."""
        held, self._held = self._held, ""
        return held if self._state in (_State.OPENING, _State.FOREIGN) else ""

    def _value(self, json: str) -> str:
        end = self._end(json)
        if end is not None:
            self._state = _State.CLOSED
        passed = (self._held + json[:end]).rstrip(_BLANKS)
        self._held = (self._held + json[:end])[len(passed) :]
        return passed

    def _end(self, json: str) -> int | None:
        """The index at which the value ends; None: the value goes on."""
        place = int(self._is_escaped and bool(json))
        self._is_escaped = self._is_escaped and not json
        while (sign := _SIGN.search(json, place)) is not None:
            place = sign.end()
            if self._is_text:
                if sign[0] == _ESCAPE:
                    self._is_escaped = place == len(json)
                    place += 1
                self._is_text = sign[0] != _QUOTE
            elif sign[0] == _QUOTE:
                self._is_text = True
            elif sign[0] in "{[":
                self._depth += 1
            elif self._depth == 0:
                return sign.start()
            elif sign[0] in "}]":
                self._depth -= 1
        return None
