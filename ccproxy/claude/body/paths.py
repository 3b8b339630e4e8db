"""Translates the provider's paths of fields to the client's. Pure.

The provider's errors name paths in the body: ``messages.3.content.1.text``,
``tools.2.custom.input_schema``. The client knows the paths in its own request:
``messages[7].content``, ``tools[2].function.parameters``. After the number of an item,
and after ``source``, the provider adds the name of a type, which is not a field.
"""

from collections.abc import Mapping, Sequence

import msgspec
from attrs import field, frozen

from ccproxy.claude.body.result import ClientPath
from ccproxy.claude.body.turns import Turn
from ccproxy.core.blocks import Block, ToolResult, result_content
from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import Tool

# Types in the provider's paths that are not the type of the client's block or tool.
_TYPES = frozenset(("custom", "pdf", "tool", "enabled", "adaptive", "disabled"))
_SOURCES = frozenset(("base64", "url", "text", "content", "file"))
# A block of one of these types has a field with the name of the type.
_FIELDS = frozenset(("text", "thinking"))


@frozen(eq=False)
class BodyPaths:
    """Translates the paths of fields in one body.

    Attributes:
        turns: the turns of the body.
        tools: the tools of the body.
        names: the client's paths of top-level fields and of fields in them.
    """

    turns: Sequence[Turn] = ()
    tools: Sequence[Tool] = ()
    names: Mapping[str, str] = field(factory=dict)

    def client_path(self, path: str) -> str | None:
        """Translate a path in the body to the client's path.

        Args:
            path: as in the provider's error, such as ``messages.3.content.1.text``.

        Returns:
            None: the proxy has added this part, or the path is not known.
        """
        match path.split("."):
            case ["messages", number, *rest] if number.isdecimal():
                return self._in_turn(int(number), rest)
            case ["tools", number, *rest] if number.isdecimal():
                return self._in_tool(int(number), rest)
            case [("messages" | "tools"), _, *_]:
                return None
            case ["system", *_]:
                return self.names.get("system", "system")
            case [name, kind, *rest] if kind in _TYPES and rest:
                return _renamed("", self.names, [name, *rest])
            case steps:
                return _renamed("", self.names, steps)

    def _in_turn(self, number: int, rest: Sequence[str]) -> str | None:
        turn = self.turns[number] if number < len(self.turns) else None
        if turn is None or not turn.at:
            return None
        match rest:
            case ["content", index, *inner] if index.isdecimal():
                return _in_block(_item(turn.blocks, index), inner)
            case ["content", *_]:
                return turn.at
        return _renamed(turn.at, {}, rest)

    def _in_tool(self, number: int, rest: Sequence[str]) -> str | None:
        tool = self.tools[number] if number < len(self.tools) else None
        if tool is None or not tool.at:
            return None
        is_typed = bool(rest) and (rest[0] == tool.value.type or rest[0] in _TYPES)
        return _renamed(tool.at, tool.renamed, rest[1:] if is_typed else rest)


def _in_block(block: Block | None, rest: Sequence[str]) -> str | None:
    if block is None or not block.at:
        return None
    is_typed = bool(rest) and (rest[0] == block.type or rest[0] in _TYPES)
    if is_typed and not (len(rest) == 1 and rest[0] in _FIELDS):
        rest = rest[1:]
    match rest:
        case ["content", index, *inner] if index.isdecimal():
            return _in_block(_item(_inner(block), index), inner)
        case ["source", "content", "content", index, *inner] if block.inner:
            return _in_block(_item(block.inner, index), inner)
        case ["source", *_] if "source" in block.renamed:
            # The client's block has the whole source in one URL.
            return block.path_of("source")
        case ["source", kind, *inner] if kind in _SOURCES:
            rest = ["source", *inner]
    return _renamed(block.at, block.renamed, rest)


def _inner(block: Block) -> Sequence[Block]:
    """The blocks of a result's content."""
    if block.inner or not isinstance(block.value, ToolResult):
        return block.inner
    try:
        content = result_content(block.value, block.at)
    except msgspec.ValidationError:
        return ()
    return () if isinstance(content, str) else content


def _item(blocks: Sequence[Block], index: str) -> Block | None:
    return blocks[int(index)] if int(index) < len(blocks) else None


def _renamed(at: str, names: Mapping[str, str], steps: Sequence[str]) -> str:
    """The path of ``steps`` below ``at``; ``names`` renames their beginning."""
    for count in range(len(steps), 0, -1):
        name = names.get(".".join(steps[:count]))
        if name is not None:
            return _joined(f"{at}.{name}" if at else name, steps[count:])
    return _joined(at, steps) if at else _joined(steps[0], steps[1:])


def _joined(start: str, steps: Sequence[str]) -> str:
    for step in steps:
        start += f"[{step}]" if step.isdecimal() else f".{step}"
    return start


def with_client_paths(error: CCProxyError, client_path: ClientPath) -> CCProxyError:
    """The error with the client's path in ``param`` and at the message's start.

    If the client's request has no such path, ``param`` becomes None.

    Args:
        error: the worker's error.
        client_path: `ComposedBody.client_path` of the request.
    """
    if error.param is None:
        return error
    param = client_path(error.param)
    message = error.message
    if param is not None and message.startswith(error.param):
        message = param + message[len(error.param) :]
    return type(error)(
        message,
        param=param,
        retry_after_seconds=error.retry_after_seconds,
        cause=error.cause,
    )
