"""Messages API: ``tools`` and ``tool_choice``, to what the model may call. Pure.

Source: ``ToolUnionParam`` and ``ToolChoiceParam`` of anthropic-python 2.14.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.conversation import Tool
from ccproxy.dialects import tools
from ccproxy.dialects.choice import Choice
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import InvalidRequest, MissingParameter

_WEB_SEARCH = "web_search_"
_PARAM = "tool_choice"


class OfferedTool(msgspec.Struct):
    """An entry of ``tools``: the client's own, or one that Anthropic has defined."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct):
    """``tool_choice``."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


@frozen(kw_only=True)
class Offer:
    """What the model may call.

    Attributes:
        tools: what is left of them by the client's choice.
        ignored: the paths of those that it cannot be offered.
    """

    tools: tuple[Tool, ...]
    must_call: bool
    parallel_calls: bool
    ignored: tuple[str, ...]


def offer(
    given: Sequence[OfferedTool], choice: ToolChoice | None, *, web_search: bool
) -> Offer:
    """Read what a request says of tools.

    Args:
        given: the tools.
        choice: the choice.
        web_search: whether the model can search the web anyway.

    Raises:
        ClientError: with ``param``.
    """
    found: list[Tool] = []
    ignored: list[str] = []
    for index, tool in enumerate(given):
        at = f"tools[{index}]"
        if (tool.type or "").startswith(_WEB_SEARCH):
            ignored += () if web_search else (at,)
        else:
            found.append(_tool(tool, at))
    tools.check_names(found, "tools")
    chosen = _choice(choice)
    left = chosen.narrowed(found)
    one_call = choice is not None and choice.disable_parallel_tool_use is True
    return Offer(
        tools=left,
        must_call=chosen.must_call,
        parallel_calls=not (one_call and left),
        ignored=tuple(ignored),
    )


def _tool(tool: OfferedTool, at: str) -> Tool:
    if tool.type not in (None, "custom"):
        unsupported(
            f"{at}.type",
            f"{tool.type!r} is Anthropic's own; send tools with an `input_schema`, "
            "which your client runs",
        )
    for name in ("name", "input_schema"):
        if getattr(tool, name) is None:
            raise MissingParameter(f"`{at}.{name}` is missing", param=f"{at}.{name}")
    about = (tool.name or "", tool.description, tool.input_schema)
    return tools.offered(*about, at, field="input_schema")


def _choice(choice: ToolChoice | None) -> Choice:
    match choice:
        case None | ToolChoice(type="auto"):
            return Choice()
        case ToolChoice(type="none"):
            return Choice(names=())
        case ToolChoice(type="any"):
            return Choice(must_call=True)
        case ToolChoice(type="tool", name=str(name)):
            return Choice(names=(name,), must_call=True)
        case ToolChoice(type="tool"):
            raise MissingParameter(f"`{_PARAM}.name` is missing", param=_PARAM)
    raise InvalidRequest(
        f"`{_PARAM}.type` is auto, any, tool or none", param=f"{_PARAM}.type"
    )
