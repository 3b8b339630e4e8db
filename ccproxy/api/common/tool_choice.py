"""``tool_choice``, as both dialects have it: which tools may, or must, be called. Pure.

Chat completions nests what Responses has flat; some clients send the Messages API's own
form. Apart from that they are one.

Source: ``ChatCompletionToolChoiceOption`` and ``ToolChoiceParam`` in OpenAI's document.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from attrs import frozen

from ccproxy.api.common.tools import ToolTable
from ccproxy.core.errors import InvalidRequest, MissingParameter, unsupported
from ccproxy.core.messages import Tool, ToolChoice

_T = TypeVar("_T")

_PARAM = "tool_choice"
_NAMED = ("function", "custom", "tool")


class _Named(msgspec.Struct):
    name: str


class _Wanted(msgspec.Struct):
    type: str
    name: str | None = None
    function: _Named | None = None
    custom: _Named | None = None


class _Allowed(msgspec.Struct):
    tools: list[_Wanted]
    mode: Literal["auto", "required"] = "auto"


class _AllowedNested(msgspec.Struct):
    allowed_tools: _Allowed


@frozen(kw_only=True)
class OpenAIToolChoice:
    """What the client leaves to the model.

    Attributes:
        mode: as `ToolChoice` has it.
        name: the tool that has to be called, by the client's name.
        allowed: the tools that are left, by the client's names; None: all of them.
    """

    mode: Literal["auto", "any", "tool", "none"] = "auto"
    name: str | None = None
    allowed: tuple[str, ...] | None = None

    def applied(
        self,
        tools: Sequence[Tool],
        table: ToolTable,
        *,
        one_call: bool = False,
        param: str = _PARAM,
        among: str = "tools",
    ) -> tuple[tuple[Tool, ...], ToolChoice | None]:
        """The tools that are left to offer, in their order, and the API's choice.

        A choice of none keeps the tools: the prompt cache depends on them.

        Args:
            tools: all of them.
            table: their names.
            one_call: whether the model may call only one of them at once.
            param: the field that chooses.
            among: the field that they are in.

        Raises:
            InvalidRequest: a name that no tool has, or nothing to call.
        """
        left = tuple(tools)
        if self.allowed is not None:
            names = self._api_names(self.allowed, table, param, among)
            left = tuple(tool for tool in tools if tool.value.name in names)
        if self.name is not None:
            # Before all else: a name that is wrong is the clearest thing to say.
            [name, *_] = self._api_names((self.name,), table, param, among)
            return left, _choice("tool", name, one_call=one_call)
        if left:
            return left, _choice(self.mode, None, one_call=one_call)
        if self.mode == "any":
            raise InvalidRequest(
                f"`{param}` demands a call, and there is nothing in `{among}` to call",
                param=param,
            )
        return left, None

    @staticmethod
    def _api_names(
        names: Sequence[str], table: ToolTable, param: str, among: str
    ) -> Sequence[str]:
        found: list[str] = []
        for name in names:
            meant = table.api_names(name)
            if not meant:
                raise InvalidRequest(
                    f"`{param}`: there is no tool named {name!r} in `{among}`",
                    param=param,
                )
            found += meant
        return found


def _choice(
    mode: Literal["auto", "any", "tool", "none"], name: str | None, *, one_call: bool
) -> ToolChoice | None:
    if mode == "none":
        return ToolChoice("none")
    if mode == "auto" and not one_call:
        return None
    return ToolChoice(mode, name, disable_parallel_tool_use=True if one_call else None)


def decode_choice(choice: object) -> OpenAIToolChoice:
    """Read a ``tool_choice`` of either dialect, as JSON has it.

    Raises:
        ClientError: it is none of those that there are.
    """
    match choice:
        case None | "auto" | {"type": "auto"}:
            return OpenAIToolChoice()
        case "none" | {"type": "none"}:
            return OpenAIToolChoice(mode="none")
        case "required" | "any" | {"type": "required" | "any"}:
            return OpenAIToolChoice(mode="any")
        case {"type": "allowed_tools", **rest}:
            return _allowed(rest)
        case {"type": str()}:
            return OpenAIToolChoice(mode="tool", name=_name(_convert(choice, _Wanted)))
    raise InvalidRequest(
        f"`{_PARAM}` is `auto`, `none`, `required`, a tool, or `allowed_tools`",
        param=_PARAM,
    )


def _allowed(choice: Mapping[Any, Any]) -> OpenAIToolChoice:
    if "allowed_tools" in choice:
        allowed = _convert(choice, _AllowedNested).allowed_tools
    else:
        allowed = _convert(choice, _Allowed)
    return OpenAIToolChoice(
        mode="any" if allowed.mode == "required" else "auto",
        allowed=tuple(_name(tool) for tool in allowed.tools),
    )


def _convert(choice: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(choice, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"`{_PARAM}`: {error}", param=_PARAM) from None


def _name(wanted: _Wanted) -> str:
    nested = wanted.function or wanted.custom
    name = nested.name if nested else wanted.name
    if name is not None:
        return name
    if wanted.type in _NAMED:
        raise MissingParameter(f"`{_PARAM}.name` is missing", param=_PARAM)
    if wanted.type in ("local_shell", "shell"):
        # These have no name of their own.
        return wanted.type
    unsupported(_PARAM, f"a call of {wanted.type!r} cannot be demanded")
