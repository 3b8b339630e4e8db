"""Reads the calls of the provider's own tools in an answer, and their results. Pure.

The provider itself runs the tool of a ``server_tool_use`` block. The result is a
separate block, whose type ends in ``_tool_result``. In the result of a failed call,
``content`` is an object with an ``error_code``.

Source: ``ServerToolUseBlock``, ``WebSearchToolResultBlock``,
``WebFetchToolResultBlock`` of anthropic-python 2.14; rule 34 of the Messages API.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import define, field, frozen

from ccproxy.core.blocks import Block
from ccproxy.core.tool_calls import arguments_object

_CALL = "server_tool_use"
_RESULT = "_tool_result"


class _Call(msgspec.Struct):
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}


class _Result(msgspec.Struct):
    tool_use_id: str = ""
    content: Any = None


_decode_call = msgspec.json.Decoder(_Call).decode
_decode_result = msgspec.json.Decoder(_Result).decode


@define
class ServerCall:
    """A call of a tool that the provider runs.

    Attributes:
        id: the id of the call, which its result refers to.
        name: the provider's name of the tool.
    """

    id: str
    name: str
    _given: Mapping[str, Any]
    _pieces: list[str] = field(factory=list)

    def feed(self, arguments: str) -> None:
        """Add a piece of the arguments' JSON."""
        self._pieces.append(arguments)

    def text(self, name: str) -> str:
        """The argument ``name``; empty if it is missing or not a text."""
        arguments = self._given
        if self._pieces:
            arguments = msgspec.json.decode(arguments_object("".join(self._pieces))[0])
        value = arguments.get(name)
        return value if isinstance(value, str) else ""


@frozen
class ServerResult:
    """The result of a call.

    Attributes:
        id: the id of the call.
        tool: the name of the tool.
        urls: the pages that were found, each once.
        error: the provider's error code; empty if the call did not fail.
    """

    id: str
    tool: str
    urls: tuple[str, ...] = ()
    error: str = ""


def server_call(block: Block) -> ServerCall | None:
    """The call that begins with a block; None if the block is not such a call."""
    if block.type != _CALL:
        return None
    try:
        read = _decode_call(block.raw)
    except msgspec.ValidationError:
        return None
    return ServerCall(read.id, read.name, read.input)


def server_result(block: Block) -> ServerResult | None:
    """The result in a block; None if the block is not such a result."""
    if not block.type.endswith(_RESULT):
        return None
    try:
        read = _decode_result(block.raw)
    except msgspec.ValidationError:
        return None
    tool = block.type.removesuffix(_RESULT)
    match read.content:
        case {"error_code": str(code)}:
            return ServerResult(read.tool_use_id, tool, error=code)
        case list(found):
            urls = [page.get("url") for page in found if isinstance(page, dict)]
            kept = dict.fromkeys(url for url in urls if isinstance(url, str))
            return ServerResult(read.tool_use_id, tool, tuple(kept))
    return ServerResult(read.tool_use_id, tool)
