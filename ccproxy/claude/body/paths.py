"""Translates the provider's paths of fields to the client's. Pure.

The provider's errors name paths in the body: ``messages.3.content.1.text``,
``tools.2.custom.input_schema``. The client knows the paths in its own request:
``messages[7].content``, ``tools[2].function.parameters``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen
from typing_extensions import override

from ccproxy.claude.body.turns import Turn
from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import Tool

_MESSAGE = re.compile(
    r"messages\.(\d+)(?:\.content(?:\.(\d+)(?:\.tool_use)?(?:\.([a-z_]+))?)?)?"
)
# What is inside an image or a document: in other APIs a block has another form.
_MEDIA = re.compile(r"(messages\..*?)\.(?:image|document|pdf)\.source\b.*")
# After the index of an item, the provider names the item's type.
_TAGS = frozenset(
    {
        *("text", "image", "document", "tool_use", "tool_result", "thinking"),
        *("redacted_thinking", "custom", "enabled", "adaptive", "disabled", "tool"),
    }
)
_TOOL = re.compile(r"tools\.(\d+)(?:\.custom)?(?:\.([a-zA-Z_]+))?")


@frozen(eq=False)
class BodyPaths(Mapping[str, str]):
    """The client's path of each path in the body, found at the lookup."""

    turns: Sequence[Turn] = ()
    tools: Sequence[Tool] = ()
    names: Mapping[str, str] = field(factory=dict)

    @override
    def __getitem__(self, path: str) -> str:
        found = self._find(path)
        if not found:
            raise KeyError(path)
        return found

    @override
    def __iter__(self) -> Iterator[str]:
        for number, turn in enumerate(self.turns):
            yield f"messages.{number}"
            if not isinstance(turn.content, str):
                for index in range(len(turn.content)):
                    yield f"messages.{number}.content.{index}"
        for number, _ in enumerate(self.tools):
            yield f"tools.{number}"
        yield from self.names

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, path: str) -> str:
        if path in self.names:
            return self.names[path]
        if match := _MESSAGE.fullmatch(path):
            return self._message(int(match[1]), match[2], match[3])
        if match := _TOOL.fullmatch(path):
            number = int(match[1])
            if number >= len(self.tools) or not self.tools[number].at:
                return ""
            tool = self.tools[number]
            inner = match[2]
            return f"{tool.at}.{tool.renamed.get(inner, inner)}" if inner else tool.at
        return ""

    def _message(self, number: int, index: str | None, inner: str | None) -> str:
        if number >= len(self.turns):
            return ""
        turn = self.turns[number]
        blocks = turn.blocks
        if index is not None:
            block = blocks[int(index)] if int(index) < len(blocks) else None
            if block is None or inner is None:
                return block.at if block is not None else ""
            # Other fields have the same name in the client's API.
            return block.path_of(inner) if inner in block.renamed else ""
        return turn.at


def client_path(paths: Mapping[str, str], path: str) -> str | None:
    """The client's path of a path that the provider names.

    Args:
        paths: `ComposedBody.paths`.
        path: as in the provider's error, such as ``messages.3.content.1.text``.

    Returns:
        The client's path of the nearest part that has one, with the rest of ``path``;
        the name of a top-level field; None: the part is the proxy's, or not known.
    """
    if match := _MEDIA.fullmatch(path):
        path = match[1]
    steps = path.split(".")
    for count in range(len(steps), 0, -1):
        found = paths.get(".".join(steps[:count]))
        if found:
            return _joined(found, steps[count:])
    if steps[0] in ("messages", "tools", "system"):
        return steps[0] if steps[0] == "system" else None
    return _joined(steps[0], steps[1:])


def _joined(start: str, steps: Sequence[str]) -> str:
    rest = list(steps)
    if len(rest) > 1 and rest[0] in _TAGS:
        # The type of an item is not a field.
        del rest[0]
    for step in rest:
        start += f"[{step}]" if step.isdigit() else f".{step}"
    return start


def with_client_paths(error: CCProxyError, paths: Mapping[str, str]) -> CCProxyError:
    """The error with the client's path in ``param`` and at the message's start.

    A path that the client's request does not have is left out.

    Args:
        error: the worker's error.
        paths: `ComposedBody.paths` of the request.
    """
    if error.param is None:
        return error
    if "." in error.param:
        param = client_path(paths, error.param)
    else:
        param = paths.get(error.param, error.param)
    message = error.message
    if param is not None and message.startswith(error.param):
        message = param + message[len(error.param) :]
    return type(error)(
        message,
        param=param,
        retry_after_seconds=error.retry_after_seconds,
        cause=error.cause,
    )
