"""Custom tools of OpenAI's APIs, whose input is free text. Pure.

In the Messages API, the input of every tool is a JSON object. A custom tool is
therefore sent as a tool with one text property, ``input``. The provider streams the
input of a call as JSON, and `CustomInputDecoder` decodes the property's text.

Source: ``CustomToolParam`` and ``CustomToolCall`` in OpenAI's document.
"""

import json
import re
from collections.abc import Mapping
from enum import Enum, auto

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ccproxy.core.blocks import Block, tool_use_block
from ccproxy.core.messages import Tool, client_tool

_PROPERTY = "input"
# The JSON before the text: the brace, the property's name, a colon, a quote.
_OPENING = re.compile(r'\s*\{\s*"' + _PROPERTY + r'"\s*:\s*"')
_OPENING_PIECES = ("{", '"' + _PROPERTY + '"', ":", '"')
_HEX_DIGITS = 4
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH, _LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)


def custom_tool(
    api_name: str,
    description: str | None,
    syntax: str | None,
    definition: str | None,
    at: str,
    cache_control: Raw | UnsetType = UNSET,
) -> Tool:
    """Translate a custom tool to a tool of the Messages API.

    Args:
        api_name: the tool's name in the request's `ToolTable`.
        description: the client's description.
        syntax: the grammar's language, ``lark`` or ``regex``; None: any text.
        definition: the grammar.
        at: the path of the tool in the request.
        cache_control: the client's cache breakpoint at the tool.
    """
    what = "The tool's whole input, as plain text."
    instructions = description or ""
    if syntax is not None:
        what += " It must match the grammar in the tool's description."
        grammar = f"The input must match this {syntax} grammar:\n\n{definition or ''}"
        instructions = f"{instructions}\n\n{grammar}" if instructions else grammar
    schema = {
        "type": "object",
        "properties": {_PROPERTY: {"type": "string", "description": what}},
        "required": [_PROPERTY],
        "additionalProperties": False,
    }
    return client_tool(
        api_name, instructions or None, schema, at=at, cache_control=cache_control
    )


def custom_call(
    identifier: str,
    api_name: str,
    text: str,
    at: str,
    renamed: Mapping[str, str] | None = None,
) -> Block:
    """Translate a call of a custom tool in the history; ``renamed`` as for `Block`."""
    return tool_use_block(identifier, api_name, {_PROPERTY: text}, at, renamed)


def free_text(arguments: str) -> str:
    """Decode the text in the complete arguments of a call."""
    decoder = CustomInputDecoder()
    return decoder.feed(arguments) + decoder.end()


class _Phase(Enum):
    OPENING = auto()
    TEXT = auto()
    CLOSED = auto()
    FOREIGN = auto()  # the arguments are not an object that begins with `input`


class CustomInputDecoder:
    r"""Decodes ``{"input": "…"}``, in pieces of any size, to its text.

    The model may call the tool with other arguments. Then `end` returns the whole text:
    the property ``input`` if it is text, or else the JSON of the arguments.
    """

    def __init__(self) -> None:
        self._phase = _Phase.OPENING
        self._raw: list[str] = []
        # The beginning of an escape whose end has not arrived.
        self._rest = ""

    def feed(self, arguments: str) -> str:
        """Decode the next piece of the JSON; returns the new text."""
        match self._phase:
            case _Phase.CLOSED:
                return ""
            case _Phase.FOREIGN:
                self._raw.append(arguments)
                return ""
            case _Phase.OPENING:
                self._raw.append(arguments)
                return self._open("".join(self._raw))
        return self._decode(self._rest + arguments)

    def end(self) -> str:
        """The rest of the text. Call it when the arguments are complete."""
        phase, self._phase = self._phase, _Phase.CLOSED
        if phase in (_Phase.TEXT, _Phase.CLOSED):
            # `_rest` is an incomplete escape, which stands for no character.
            return ""
        raw = "".join(self._raw)
        try:
            value = msgspec.json.decode(raw or "{}")
        except msgspec.DecodeError:
            return raw
        match value:
            case {"input": str(text)}:
                return text
            case {**rest} if not rest:
                return ""
        return raw

    def _open(self, json_text: str) -> str:
        match = _OPENING.match(json_text)
        if match is not None:
            self._phase = _Phase.TEXT
            self._raw.clear()
            return self._decode(json_text[match.end() :])
        if not _may_open(json_text):
            self._phase = _Phase.FOREIGN
        return ""

    def _decode(self, json_text: str) -> str:
        """Decode up to the closing quote, or to the last complete character."""
        end, is_closed = _end_of_text(json_text)
        if is_closed:
            self._phase = _Phase.CLOSED
        self._rest = "" if is_closed else json_text[end:]
        try:
            text: str = json.loads(f'"{json_text[:end]}"', strict=False)
        except ValueError:
            # The text contains an escape that JSON does not have.
            return json_text[:end]
        return _LONE_SURROGATE.sub("\ufffd", text)


def _may_open(json_text: str) -> bool:
    """Whether the text is the beginning of ``{"input": "``, apart from white space."""
    rest = json_text
    for piece in _OPENING_PIECES:
        rest = rest.lstrip()
        if len(rest) < len(piece):
            return piece.startswith(rest)
        if not rest.startswith(piece):
            return False
        rest = rest[len(piece) :]
    return True


def _end_of_text(json_text: str) -> tuple[int, bool]:
    """Find the end of the text that can be decoded.

    Returns:
        The index of the end, and whether the closing quote is there.
    """
    place = 0
    while place < len(json_text):
        character = json_text[place]
        if character == '"':
            return place, True
        step = 1 if character != "\\" else _escape(json_text, place)
        if step == 0 or place + step > len(json_text):
            return place, False
        place += step
    return place, False


def _escape(json_text: str, place: int) -> int:
    """The length of an escape, or of two escapes that are a surrogate pair.

    Returns:
        The number of characters; 0: the escape is incomplete.
    """
    if json_text[place + 1 : place + 2] != "u":
        return 2
    digits = json_text[place + 2 : place + 2 + _HEX_DIGITS]
    length = 2 + _HEX_DIGITS
    if len(digits) < _HEX_DIGITS:
        return 0
    if _number(digits) not in _HIGH:
        return length
    second = json_text[place + length : place + 2 * length]
    if len(second) < length and "\\u".startswith(second[:2]):
        return 0
    is_pair = second.startswith("\\u") and _number(second[2:]) in _LOW
    return 2 * length if is_pair else length


def _number(digits: str) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        return -1
